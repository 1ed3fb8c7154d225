"""The HTML report: whole, offline, and never crashing."""

import re

import pandas as pd
import plotly.graph_objects as go
import pytest

from mixopt.errors import StudyError
from mixopt.report import figures, render_report, write_report

from .conftest import make_data, make_recommendation, make_space

FIGURES = {
    "outcome": figures.outcome,
    "history": figures.history,
    "predicted": figures.predicted_observed,
    "weights": figures.weights,
    "trade-off": figures.trade_off,
    "trade-off-metrics": figures.trade_off_metrics,
    "epochs": figures.epochs,
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
        "Train 80 % on the base mixture, then 20 % on the ending mixture.",
        "3.1680",
        "trial r02-t03",
        "3.2810",
        "the budget of 22 trials is spent",
        "Confirmation runs",
        "prior mean and prior width",
        "Not shown: 1 failed trial.",
        "98k parameters on 6.4M tokens",
    ):
        assert text in html


def test_texts_are_escaped(html):
    assert "&lt;b&gt;raw&lt;/b&gt; &amp; plain" in html
    assert "<b>raw" not in html


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
    level = next(t for t in figure["data"] if t["name"] == "baseline")["y"]
    assert level == [3.281, 3.281]


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
        ({"trials": nothing()}, "history", "no trial has finished"),
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
