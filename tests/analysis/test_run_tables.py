"""Tables as people have them: one or two, wide or long, files or DataFrames, of any phases."""

import gzip

import numpy as np
import pandas as pd
import pytest

import mixopt
from mixopt.analysis.run_tables import read_mixtures, read_runs
from mixopt.errors import StudyError

SHARES = [0.1, 0.3, 0.5, 0.7, 0.9]


def loss(share):
    return 2 + (share - 0.6) ** 2


def wide():
    """One table, its columns in an odd order, the weights apart from each other."""
    return pd.DataFrame(
        {
            "loss/web": [loss(s) for s in SHARES],
            "w_code": [1 - s for s in SHARES],
            "model": "small",
            "run": [f"r{i}" for i in range(len(SHARES))],
            "w_web": SHARES,
        }
    )


def long():
    """One row per run, length and metric."""
    rows = [
        {"run": i, "w_web": s, "w_code": 1 - s, "tokens": d, "metric": m, "value": v + 1e10 / d}
        for i, s in enumerate(SHARES)
        for d in (1e10, 2e10)
        for m, v in (("web", loss(s)), ("code", 3 - s))
    ]
    return pd.DataFrame(rows)


def test_one_table_in_any_order_of_columns_is_read():
    table = read_runs(wide(), needed=["loss/web"])
    assert table.domains == ("code", "web")
    assert table.metrics == ("loss/web",)
    assert table.ids == ("r0", "r1", "r2", "r3", "r4")
    assert table.X[:, 1] == pytest.approx(SHARES)
    assert table.left_out == ("model is left out: it holds something that is not a number.",)


def test_a_long_table_says_what_a_wide_one_says(tmp_path):
    table = read_runs(long())
    apart = long().drop(columns=["w_web", "w_code"])
    apart = apart.pivot(index=["run", "tokens"], columns="metric", values="value").reset_index()
    with gzip.open(tmp_path / "metrics.csv.gz", "wt") as file:
        file.write(apart.to_csv(index=False))
    long()[["run", "w_web", "w_code"]].drop_duplicates().to_csv(tmp_path / "r.csv", index=False)
    other = read_runs(tmp_path / "r.csv", tmp_path / "metrics.csv.gz")
    order = [other.metrics.index(name) for name in table.metrics]
    assert np.allclose(table.Y, other.Y[:, order])
    assert np.allclose(table.X, other.X)
    assert table.ids == other.ids
    assert table.ends.tolist() == [1, 3, 5, 7, 9]


def test_runs_of_one_name_at_several_sizes_are_several():
    both = pd.concat([long().assign(parameters=n) for n in ("70M", "1.6e8")])
    table = read_runs(both)
    assert len(set(table.ids)) == 10
    assert set(table.parameters) == {7e7, 1.6e8}


def test_what_nobody_needs_may_be_missing():
    frame = wide().assign(other=[1.0, None, 2.0, 3.0, 4.0])
    table = read_runs(frame, needed=["loss/web"])
    assert table.metrics == ("loss/web",)
    assert "other is left out: 1 of its values are missing." in table.left_out
    with pytest.raises(StudyError, match=r"run r1: other must be a finite number; got ''"):
        read_runs(frame, domains=["w_web", "w_code"], needed=["other"])


def test_a_checkpoint_without_the_metric_is_left_out_and_a_run_without_is_refused():
    frame = long()
    ends = (frame["tokens"] == 2e10) | (frame["metric"] == "code")
    table = read_runs(frame[ends], needed=["web"])
    assert table.tokens.tolist() == [2e10] * 5
    assert "5 checkpoints are left out" in table.left_out[-1]
    with pytest.raises(StudyError, match=r"run 2: web must be a finite number; got ''"):
        read_runs(frame[(frame["run"] != 2) | (frame["metric"] == "code")], needed=["web"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"w_web": 1.0}, "weights that sum to 1 in every row; none do"),
        ({"v_web": SHARES, "v_code": [1 - s for s in SHARES]}, "2 groups do"),
        (
            {"w_web": [100 * s for s in SHARES], "w_code": [100 - 100 * s for s in SHARES]},
            "percent",
        ),
        ({"parameters": 70}, "which looks like millions or billions"),
        ({"tokens": 30_000, "parameters": 7e7}, "has 30000, which looks like steps"),
        ({"run": ["r0", "r0", "r2", "r3", "r4"]}, "holds the run r0 twice"),
    ],
)
def test_what_cannot_be_meant_is_told(change, text):
    with pytest.raises(StudyError, match=text):
        read_runs(wide().assign(**change), needed=["loss/web"])


def test_one_run_has_one_mixture():
    frame = long()
    frame.loc[frame["tokens"] == 2e10, ["w_web", "w_code"]] = [0.5, 0.5]
    with pytest.raises(StudyError, match="every row of a run must have the same weights"):
        read_runs(frame)


def phased():
    """Runs of two phases; the loss is least with much code in a long last phase."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(14):
        base, ending, share = [*rng.uniform(0.1, 0.9, 2).tolist(), (0.0, 0.1, 0.2, 0.3)[i % 4]]
        row = {"run": i, "base.web": base, "base.code": 1 - base, "fraction": share}
        row |= {"ending.web": ending, "ending.code": 1 - ending} if share else {}
        code = (1 - share) * (1 - base) + 3 * share * (1 - ending)
        rows.append(row | {"loss": 3 - code / 2 + base * 0.1})
    return pd.DataFrame(rows)


def test_runs_of_two_phases_recommend_two():
    fitted = mixopt.fit(phased(), objective="loss")
    assert [p.name for p in fitted.space.phases] == ["base", "ending"]
    assert fitted.space.phases[1].fraction == (0.0, 0.1, 0.2, 0.3)
    schedule = fitted.recommendation.schedule
    assert schedule.upsample_fraction > 0
    assert schedule.ending["code"] > 0.5
    wanted = pd.DataFrame(
        {"fraction": [0.3, 0.0], "base.code": [0.5, 0.5], "base.web": [0.5, 0.5]}
        | {"ending.web": [0.1, None], "ending.code": [0.9, None]},
        index=["rich", "static"],
    )
    rich, static = fitted.predict(wanted).itertuples()
    assert (rich.name, static.name) == ("rich", "static")
    assert rich.value < static.value


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fraction": 20}, "must lie between 0 and 1; got 20: it looks like percent"),
        ({"last.web": 0.5}, "every weight must be named PHASE.DOMAIN, of two phases"),
        ({"ending.books": 0.0}, r"both phases must have the same domains; \['books'\]"),
    ],
)
def test_phases_that_cannot_be_meant_are_told(change, text):
    with pytest.raises(StudyError, match=text):
        read_runs(phased().assign(**change), needed=["loss"])


def test_candidates_are_found_by_name_and_other_columns_are_not_read():
    weights = read_runs(wide(), needed=["loss/web"]).weights
    names, X = read_mixtures(
        pd.DataFrame({"loss": [9.0], "web": [0.25], "label": ["a"], "code": [0.75]}), weights
    )
    assert X.tolist() == [[0.75, 0.25]]
    assert len(names) == 1
    with pytest.raises(StudyError, match="it lacks code"):
        read_mixtures(pd.DataFrame({"web": [1.0], "books": [0.0]}), weights)


def test_a_long_table_without_runs_and_phases_without_a_share_are_told():
    with pytest.raises(StudyError, match="it must say whose row it is"):
        read_runs(long().drop(columns="run"))
    weights = read_runs(phased(), needed=["loss"]).weights
    with pytest.raises(StudyError, match="it lacks fraction"):
        read_mixtures(phased().drop(columns=["fraction"]), weights)


def test_two_tables_may_be_long_and_in_phases():
    mixtures = phased().drop(columns="loss")
    metrics = phased()[["run", "loss"]].rename(columns={"loss": "value"}).assign(metric="loss")
    table = read_runs(mixtures, metrics)
    assert np.allclose(table.X, read_runs(phased(), needed=["loss"]).X)
    assert table.metrics == ("loss",)


def test_the_verb_and_the_function_say_the_same_and_write_it_down(tmp_path, capsys):
    from mixopt.cli import main
    from mixopt.export import read_source
    from mixopt.report import write_fit

    frame = wide()
    frame.to_csv(tmp_path / "runs.csv", index=False)
    fitted = mixopt.fit(frame, objective="loss/web", baseline="w_web=0.2,w_code=0.8")
    paths = write_fit(fitted, tmp_path / "out")
    assert [p.name for p in paths] == ["schedule.json", "report.html"]
    assert fitted.recommendation.verdict in paths[1].read_text()
    assert read_source(paths[0]).schedule == fitted.recommendation.schedule
    asked = ["--objective", "loss/web", "--baseline", "w_web=0.2,w_code=0.8", "--json"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", str(tmp_path / "runs.csv"), *asked])
    assert f'"mean": {fitted.recommendation.predicted.mean}' in capsys.readouterr().out


def test_the_runs_are_named_wherever_their_column_stands():
    frame = long().rename(columns={"run": "run_id"})[["value", "tokens", "w_web", "w_code"]]
    frame = frame.assign(run_id=long()["run"], metric=long()["metric"])
    assert set(read_runs(frame).ids) == {"0", "1", "2", "3", "4"}
    alone = read_runs(wide().drop(columns="run").assign(tokens="1B"), needed=["loss/web"])
    assert alone.ids == ("1", "2", "3", "4", "5")
    assert "every row is taken for a run of its own" in alone.left_out[-1]
