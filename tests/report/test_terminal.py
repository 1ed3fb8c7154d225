"""Tables of a recommendation on the terminal and as JSON."""

import json
import math
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from mixopt.analysis.token_worth import Beyond, TokenRatio, TokenWorth
from mixopt.propose import Differences, Estimate
from mixopt.report import numbers
from mixopt.report.components import Table
from mixopt.report.recommendation_tables import mixture_table
from mixopt.report.terminal import as_json, estimate_table, recommendation_table, render
from mixopt.space import Schedule, SearchSpace

from .conftest import make_recommendation, make_space


def shown(renderable, width=120) -> str:
    stream = StringIO()
    Console(file=stream, width=width).print(renderable)
    return stream.getvalue()


@pytest.fixture
def text() -> str:
    space = make_space()
    return shown(recommendation_table(make_recommendation(space), space))


def line(text: str, start: str) -> list[str]:
    found = next(row for row in text.splitlines() if row.strip().startswith(start))
    return found.split()


def test_the_schedule_is_a_row_per_domain(text):
    assert line(text, "python") == [
        "python",
        "15.6",
        "%",
        "30.0",
        "%",
        "50.0",
        "%",
        "×",
        "1.67",
        "0.84",
        "4",
    ]
    assert line(text, "cpp")[-3:] == ["dropped", "0.22", "4"]
    assert line(text, "data") == ["data", "0.9", "%", "0", "5.0", "%", "new", "0.43", "4"]


def test_the_gain_comes_first_and_the_four_numbers_are_differences(text):
    first = " ".join(text.split())
    assert first.startswith(
        "The recommendation is better than the baseline: -0.1033 nats/token (-0.1177 to -0.0890), "
        "confirmed over 3 fresh seeds on text the search never saw."
    )
    assert line(text, "recommendation, confirmed")[2:] == [
        "−0.1033",
        "[−0.1177,",
        "−0.0890]",
        "3.1700",
        "unseen",
    ]
    assert line(text, "recommendation, predicted")[2] == "−0.1220"
    assert line(text, "best observed")[3] == "−0.1090"
    assert line(text, "baseline, observed")[2:] == ["0", "3.2810", "search"]


def test_confirmations_carry_paired_differences(text):
    rows = text[text.index("Confirmation runs") :]
    assert line(rows, "recommendation")[:6] == [
        "recommendation",
        "3",
        "−0.1033",
        "[−0.1177,",
        "−0.0890]",
        "3.1700",
    ]
    assert line(rows, "recommendation")[6] == "3.1680"
    assert line(rows, "baseline")[:3] == ["baseline", "3", "3.2733"]


def test_a_recommendation_that_is_not_better_says_so_first():
    space = make_space()
    said = {
        0.05: "The recommendation is worse than the baseline: +0.0500",
        -0.001: "The recommendation is not shown to be better than the baseline: -0.0010",
    }
    for mean, words in said.items():
        gaps = Differences(predicted=Estimate.of(mean, 0.01))
        rec = make_recommendation(space, differences=gaps, confirmations=())
        assert shown(recommendation_table(rec, space)).startswith(words)


def test_what_the_gain_is_worth_in_tokens_is_told(text):
    assert "of the baseline's tokens" not in text
    space = make_space()
    worth = TokenWorth(
        needed=TokenRatio(value=0.73, low=0.68, high=0.79),
        worth=TokenRatio(value=1.0, beyond=Beyond.more),
        seeds=3,
        source="confirmation runs",
    )
    told = shown(recommendation_table(make_recommendation(space), space, worth=worth), 400)
    assert "needs 73 % (68 to 79 %) of the baseline's tokens; for" in told
    assert "needs more than 100 % of its tokens, which lies beyond what was measured." in told
    assert "not the end of a shorter one" in told


def test_nothing_from_outside_is_markup():
    table = Table("[/b]", ("a [red]", "b"), (("[/INST]", "[rank0]"),), note="[bold]plain")
    text = shown(render(table))
    for part in ("[/b]", "a [red]", "[/INST]", "[rank0]", "[bold]plain"):
        assert part in text


def test_guardrails_and_notes(text):
    assert line(text[text.index("Guardrails") :], "cpp")[-1] == "yes"
    assert "note: python is read 0.8 times; <b>raw</b> & plain." in text


def test_one_phase_has_no_upsampling_column():
    space = make_space(1)
    text = shown(recommendation_table(make_recommendation(space), space))
    assert "upsampling" not in text
    assert line(text, "python") == ["python", "15.6", "%", "30.0", "%", "0.74", "4"]


def test_json_holds_everything_and_no_infinity():
    space = make_space()
    given = make_recommendation(space)
    assert math.isinf(given.upsampling_ratio["data"])
    data = json.loads(as_json(given), parse_constant=pytest.fail)
    assert data["upsampling_ratio"]["data"] is None
    assert data["predicted"]["mean"] == 3.15
    assert data["schedule"]["phases"][1]["mixture"]["python"] == 0.5
    assert next(c["label"] for c in data["confirmations"]) == "recommendation"
    assert len(data["trade_off"]) == 4


def test_a_plan():
    plan = SimpleNamespace(
        trials=24,
        confirmations=12,
        tokens=14_400_000,
        flops=8.5e12,
        first_round=4_000_000,
        first_round_shared=3_000_000,
        first_round_flops=8e12,
        first_round_flops_shared=6e12,
        slots=2,
        seconds=254.0,
        device_hours=0.14,
        money=None,
    )
    text = shown(render(estimate_table(plan)))
    assert line(text, "training tokens")[-1] == "14.4M"
    assert line(text, "estimated time")[-4:] == ["4", "min", "14", "s"]
    plan.seconds = None
    assert line(shown(render(estimate_table(plan))), "estimated time")[-1] == "–"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (numbers.count(1_210_000_000_000), "1.21T"),
        (numbers.count(999), "999"),
        (numbers.share(0.0001), "< 0.1 %"),
        (numbers.share(0.0), "0"),
        (numbers.ratio(math.nan), "–"),
        (numbers.value(math.nan), "–"),
        (numbers.interval(None, 1.0), ""),
        (numbers.times(123.4), "123"),
        (numbers.duration(3700), "1 h 1 min"),
        (numbers.duration(59.4), "59 s"),
        (numbers.flops(2.4e11), "2.40e11"),
        (numbers.signed(-0.5), "−0.5000"),
    ],
)
def test_numbers_as_text(made, text):
    assert made == text


def test_inner_nodes_of_a_tree_show_their_sums():
    space = SearchSpace(
        domains={"web/a": {"tokens": 3}, "code": {"tokens": 5}, "web/b": {"tokens": 2}}
    )
    ending = {"web/a": 0.3, "web/b": 0.3, "code": 0.4}
    schedule = Schedule.two_phase({"web/a": 0.1, "web/b": 0.2, "code": 0.7}, ending, 0.2)
    table = mixture_table(SimpleNamespace(schedule=schedule, epochs={}), space)
    assert [row[0] for row in table.rows] == ["web (2 domains)", "web/a", "web/b", "code"]
    assert table.rows[0][1:5] == ("50.0 %", "30.0 %", "60.0 %", "× 2.00")
    assert table.strong == {0}


def test_brackets_in_a_table_are_no_markup():
    table = Table("[/b] title", ("what", "[red]"), (("[/INST]", "[rank0]"),), note="[bold")
    found = shown(render(table))
    for part in ("[/b] title", "[red]", "[/INST]", "[rank0]", "[bold"):
        assert part in found
