"""The HTML report: whole, offline, and never crashing."""

import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import mixopt
from mixopt.errors import StudyError
from mixopt.report import figures, render_report, response_figures, write_report
from mixopt.report.study_tables import trials_table
from mixopt.report.tradeoff_page import _with_room
from mixopt.space import Fidelity, Schedule, SearchSpace

from .conftest import make_data, make_recommendation, make_space

TARGET = {"parameters": 98_000, "tokens": 400_000}

FIGURES = {
    "outcome": figures.outcome,
    "fresh": figures.fresh,
    "history": figures.history,
    "predicted": figures.predicted_observed,
    "weights": figures.weights,
    "trade-off": figures.trade_off,
    "trade-off-metrics": figures.trade_off_metrics,
    "epochs": figures.epochs,
    "effects": response_figures.effects,
    "metric-map": response_figures.metric_map,
    "slices": response_figures.slices,
    "ternary": response_figures.ternary,
}


def without_plotly(html: str) -> str:
    """The page without the library's own source."""
    scripts = re.findall(r"<script>.*?</script>", html, flags=re.DOTALL)
    return html.replace(max(scripts, key=len), "")


@pytest.fixture(scope="module")
def html() -> str:
    return without_plotly(render_report(make_data()))


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_one_plotly_accepts(data, name):
    figure = go.Figure(FIGURES[name](data))
    assert len(figure.data) > 0


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_and_section_is_on_the_page(html, name):
    assert f'id="figure-{name}"' in html
    assert f'<section id="{name}">' in html


def test_the_page_asks_nothing_of_the_network(html):
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:,)""", html)
    assert "http" not in html
    assert "@import" not in html


def test_the_page_says_what_to_do_and_what_to_expect(html):
    for text in (
        "The recommendation is better than the baseline: -0.1033 nats/token",
        "Train 80 % on the base mixture, then 20 % on the ending mixture.",
        "−0.1220",
        "trial r02-t03",
        "3.2810",
        "the budget of 22 trials is spent",
        "Confirmation runs",
        "prior mean and prior width",
        "Not shown: 1 trial that failed. Not shown: 1 trial that ended early.",
        f"mixopt {mixopt.__version__}, seed 7, 2026-11-20",
        "ended early",
        "60\u00a0% shared law, 40\u00a0% warped GP",
        "98k parameters on 6.4M tokens",
    ):
        assert text in html


def test_texts_are_escaped(html):
    assert "&lt;b&gt;raw&lt;/b&gt; &amp; plain" in html
    assert "<b>raw" not in html


def test_names_from_outside_are_no_markup_in_scripts_and_figures():
    name = "</script><b>x"
    space = SearchSpace.model_validate(
        {"domains": {name: {"tokens": 10}, "b": {"tokens": 10}}, "target": TARGET}
    )
    schedule = Schedule.static({name: 0.5, "b": 0.5})
    rec = make_recommendation(make_space(1), schedule=schedule, trade_off=(), epochs={name: 1.0})
    data = make_data(space=space, recommendation=rec)
    page = without_plotly(render_report(data))
    assert "</script><b>" not in page
    bars = figures.epochs(data)["data"][0]
    assert bars["y"] == ["&lt;/script&gt;&lt;b&gt;x"]


def test_the_file_is_written_whole_or_not_at_all(data, tmp_path):
    path = write_report(data, tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text().rstrip().endswith("</html>")
    assert write_report(data, tmp_path / "other.html").name == "other.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="the report cannot be written"):
        write_report(data, tmp_path / "file" / "report.html")


def test_history_holds_search_trials_only(data):
    figure = figures.history(data)
    drawn = [x for t in figure["data"] if t["mode"] == "markers" for x in t["text"]]
    assert len(drawn) == 22
    assert "r02-t06" not in drawn
    best = next(t for t in figure["data"] if t["name"] == "best so far")["y"]
    assert best == sorted(best, reverse=True)
    level = next(t for t in figure["data"] if t["name"] == "baseline, observed")["y"]
    assert level == [3.281, 3.281]


def test_best_so_far_never_mixes_sizes_of_runs(data):
    trials = data.trials.copy()
    small = trials["round"] == 0
    trials.loc[small, "tokens"] = 100_000
    figure = figures.history(make_data(trials=trials))
    lines = {t["name"]: t for t in figure["data"] if t["name"].startswith("best so far")}
    assert list(lines) == [
        "best so far, 98k parameters on 100k tokens",
        "best so far, 98k parameters on 400k tokens",
    ]
    search = trials[(trials["state"] == "finished") & (trials["kind"] != "confirmation")]
    for tokens, trace in zip((100_000, 400_000), lines.values(), strict=True):
        mine = search[search["tokens"] == tokens]["objective"]
        assert trace["y"][-1] == pytest.approx(mine.min())


def test_a_baseline_predicted_at_the_target_is_no_level_for_smaller_runs():
    space = make_space()
    rec = make_recommendation(
        space, target=Fidelity(parameters=98_000, tokens=800_000), baseline_observed=None
    )
    figure = figures.history(make_data(recommendation=rec))
    assert not [t for t in figure["data"] if "baseline" in t["name"]]


def test_searched_and_unseen_text_are_never_on_one_axis(data):
    figure = figures.outcome(data)
    rows = {axis: set() for axis in ("x", "x2")}
    for trace in figure["data"]:
        rows[trace["xaxis"]] |= set(trace["y"])
    assert rows["x"] == {
        "predicted",
        "best observed (r02-t03)",
        "uniform",
    }
    assert rows["x2"] == {"recommendation", "uniform", "static"}
    titles = [figure["layout"][a]["title"]["text"] for a in ("xaxis", "xaxis2")]
    assert "search's held-out text" in titles[0]
    assert "unseen text" in titles[1]


def test_predictions_stand_beside_fresh_seeds_on_the_search_text(data):
    figure = figures.fresh(data)
    drawn = {(t["name"], t["y"][0]): t["x"][0] for t in figure["data"]}
    assert drawn["fresh seeds", "recommendation"] == pytest.approx(3.17 - 0.002)
    assert drawn["predicted", "recommendation"] == pytest.approx(3.15)
    assert {row for _, row in drawn} == {"recommendation", "baseline", "uniform"}
    far = make_recommendation(make_space(), target=Fidelity(parameters=98_000, tokens=800_000))
    with pytest.raises(figures.NotApplicable, match="predictions are of the target"):
        figures.fresh(make_data(recommendation=far))


def test_bars_of_three_seeds_are_students_t(data):
    bar = next(
        t for t in figures.outcome(data)["data"] if (t["y"], t["xaxis"]) == (["uniform"], "x2")
    )
    gaps = np.array([3.23 - 3.27, 3.25 - 3.29, 3.22 - 3.26])
    wide = 4.303 * gaps.std(ddof=1) / np.sqrt(3)
    assert bar["error_x"]["array"][0] == pytest.approx(wide, rel=1e-3, abs=1e-12)


def test_only_real_observations_are_called_observed(data):
    frame = data.predictions.assign(observed=[True] * 5 + [False] * (len(data.predictions) - 5))
    figure = figures.predicted_observed(make_data(predictions=frame))
    traces = {t["name"]: t for t in figure["data"] if "name" in t}
    assert len(traces["observed"]["x"]) == 5
    assert len(traces["extrapolated to the target"]["x"]) == len(frame) - 5
    assert "extrapolated" in figure["layout"]["yaxis"]["title"]["text"]
    plain = figures.predicted_observed(data)
    assert plain["layout"]["yaxis"]["title"]["text"] == "observed"


def test_the_best_observed_trial_is_marked_in_the_table_of_trials(data):
    table = trials_table(data)
    (strong,) = table.strong
    assert table.rows[strong][0] == "r02-t03"
    assert table.rows[strong][4] == "finished, best observed"
    mixture = "base: python 60 %, cpp 40 %; ending: python 100 %"
    assert table.rows[strong][5].replace("\u00a0", " ") == mixture
    states = {row[0]: row[4] for row in table.rows}
    assert states["r02-t06"] == "failed: CUDA [/INST] <b>"
    assert states["r02-t07"] == "ended early"
    assert {row[3] for row in table.rows} == {"search", "unseen"}


def test_weights_show_natural_beside_another_baseline():
    space = make_space(baseline="uniform")
    titles = [t["name"] for t in figures.weights(make_data(space=space))["data"]]
    assert titles == ["natural", "baseline", "base, first 80 %", "ending, last 20 %"]
    assert next(t["name"] for t in figures.weights(make_data())["data"]) == "baseline"


def test_epochs_carry_their_caps(data):
    bars, caps = figures.epochs(data)["data"]
    assert bars["y"] == ["python", "cpp", "prose", "stubs", "data"]
    assert caps["x"] == [4.0] * 5


def nothing() -> pd.DataFrame:
    return make_data().trials.head(0)


@pytest.mark.parametrize(
    ("more", "name", "reason"),
    [
        ({"recommendation": None}, "weights", "no recommendation yet"),
        ({"recommendation": None}, "outcome", "no recommendation yet"),
        ({"space": make_space(1)}, "trade-off", "the search space has one phase"),
        ({"space": make_space(target=None, max_epochs=None)}, "epochs", "names no target"),
        ({"trials": nothing()}, "history", "no trial of the search has finished"),
        ({"predictions": pd.DataFrame()}, "predicted", "fewer than two finished trials"),
    ],
)
def test_what_cannot_be_drawn_says_why(more, name, reason):
    data = make_data(**more)
    with pytest.raises(figures.NotApplicable, match=reason):
        FIGURES[name](data)
    page = without_plotly(render_report(data))
    assert f'id="figure-{name}"' not in page
    assert re.search(rf'<section id="{name}">.*?Not applicable: [^<]*{reason}', page, re.DOTALL)


def test_a_recommendation_without_the_rest_still_makes_a_page():
    space = make_space(1)
    bare = make_recommendation(
        space,
        epochs={},
        guardrails=(),
        confirmations=(),
        surrogate=(),
        notes=(),
        uniform=None,
        baseline_observed=None,
        baseline_metrics={},
    )
    page = without_plotly(render_report(make_data(space=space, recommendation=bare)))
    assert "no confirmation run has finished" in page
    assert "Train on one mixture from start to end." in page
    assert "Before you use it" not in page
    assert 'id="guardrails"' not in page
    assert "NaN" not in page


def test_a_static_answer_where_endings_were_allowed_says_so():
    space = make_space()
    static = make_recommendation(make_space(1))
    page = render_report(make_data(space=space, recommendation=static))
    assert "from start to end: none of the endings tried is predicted to pay." in page


def test_points_that_lie_close_have_one_label():
    assert _with_room([0.0, 0.01, 0.5, 1.0], [0.0, 0.02, 0.5, 1.0]) == [True, False, True, True]
    assert _with_room([1.0, 1.0], [2.0, 2.0]) == [True, False]
