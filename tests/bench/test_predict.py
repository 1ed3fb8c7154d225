import builtins

import numpy as np
import pytest

from mixopt.bench import BenchError, parse_counts, predict
from mixopt.bench.designs import design_rows
from mixopt.bench.loglinear import fit_loglinear, loglinear
from mixopt.bench.methods import SURROGATES, Task, surrogate
from mixopt.bench.tables import BenchTable


def test_rows_have_the_promised_columns_and_a_mean(law_table):
    rows = predict(law_table(), train=[10, 16], repeats=1, surrogates=["mixing-laws", "mixopt"])
    assert len(rows) == 2 * 2 * 3
    keys = {"surrogate", "train", "metric", "spearman", "mse", "regret", "coverage95", "seconds"}
    assert all(keys <= set(row) for row in rows)
    assert {row["metric"] for row in rows} == {"d0", "d1", "mean"}
    law = [r for r in rows if r["surrogate"] == "mixing-laws" and r["train"] == 16]
    assert all(r["spearman"] == pytest.approx(1.0) and r["mse"] < 1e-6 for r in law)
    assert all(r["coverage95"] is None and r["regret"] == pytest.approx(0.0) for r in law)
    ours = [r for r in rows if r["surrogate"] == "mixopt"]
    assert all(0.5 < r["coverage95"] <= 1.0 and r["seconds"] > 0 for r in ours)


def test_test_rows_are_seen_by_nobody(law_table, monkeypatch):
    table = law_table()
    seen = []

    def spy(task):
        seen.append(task.X)
        return surrogate("mixing-laws")(task)

    monkeypatch.setitem(SURROGATES, "spy", spy)
    predict(table, train=[8, 28], repeats=3, surrogates=["spy"], design="maxmin")
    test = {row.tobytes() for row in table.X[table.role == "test"]}
    train = {row.tobytes() for row in table.X[table.role == "train"]}
    used = {row.tobytes() for X in seen for row in X}
    assert len(seen) == 6
    assert used == train
    assert not used & test


def test_without_a_split_a_third_is_held_out_anew_each_repeat(law_table, monkeypatch):
    table, seen = law_table(n=30, test=0), []

    def spy(task):
        seen.append({row.tobytes() for row in task.X})
        return surrogate("mixing-laws")(task)

    monkeypatch.setitem(SURROGATES, "spy", spy)
    predict(table, train=[20], repeats=4, surrogates=["spy"])
    assert all(len(rows) == 20 for rows in seen)
    assert len(set().union(*seen)) > 25
    with pytest.raises(BenchError, match=r"from 1 to the 20 .*got 21"):
        predict(table, train=[21], repeats=1, surrogates=["spy"])


def test_a_test_loss_changes_no_forecast(law_table):
    table = law_table()
    spoiled = table.Y.copy()
    spoiled[table.role == "test"] += 7.0
    other = BenchTable(**{**vars(table), "Y": spoiled})
    args = {"train": [12], "repeats": 1, "surrogates": ["gp"]}
    plain, moved = predict(table, **args), predict(other, **args)
    for a, b in zip(plain, moved, strict=True):
        assert a["coverage95_unused"] == b["coverage95_unused"]
        assert b["mse"] > 40 > a["mse"]


@pytest.mark.parametrize(
    "kind", ["random", "maxmin", "dirichlet", "doptimal", "halving", "uniform"]
)
def test_designs_choose_different_rows_and_repeat_by_seed(law_table, kind):
    X = law_table(60).X
    rows = design_rows(kind, X, 12, 3)
    assert len(set(rows.tolist())) == 12
    np.testing.assert_array_equal(rows, design_rows(kind, X, 12, 3))


def test_maxmin_spreads_rows_more_than_chance(law_table):
    X = np.sqrt(law_table(200).X)

    def least(rows):
        gap = ((X[rows][:, None] - X[rows][None]) ** 2).sum(-1)
        return gap[~np.eye(len(rows), dtype=bool)].min()

    far = [least(design_rows("maxmin", X**2, 12, s)) for s in range(3)]
    chance = [least(design_rows("random", X**2, 12, s)) for s in range(3)]
    assert min(far) > 3 * max(chance)


def test_unknown_names_are_refused(law_table):
    with pytest.raises(BenchError, match=r"must be one of mixopt, .*got 'crystal ball'"):
        predict(law_table(), surrogates=["crystal ball"])
    with pytest.raises(BenchError, match=r"a design must be one of random, .*got 'hexagons'"):
        design_rows("hexagons", law_table().X, 5, 0)
    with pytest.raises(BenchError, match="at least 1 repeat; got 0"):
        predict(law_table(), repeats=0)


def test_a_missing_package_names_the_extra(law_table, monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name == "lightgbm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    import importlib

    def refuse(name):
        return blocked(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(BenchError, match="needs the package lightgbm") as caught:
        predict(law_table(), train=[8], repeats=1, surrogates=["regmix"])
    assert caught.value.hint == "pip install 'mixopt[bench]'"


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_every_surrogate_learns_the_law(law_table, name):
    if name in {"regmix", "climb"}:
        pytest.importorskip("lightgbm", reason="the extra 'bench' is not installed")
    table = law_table(60, seed=1)
    train = table.role == "train"
    task = Task(table.X[train], table.Y[train], table.metrics, table.domains)
    forecast = surrogate(name)(task)(table.X[~train])
    error = ((forecast.mean - table.Y[~train]) ** 2).mean(0)
    assert (error < 0.2 * table.Y[~train].var(0)).all()
    if forecast.sd is not None:
        assert (forecast.sd > 0).all()


def test_the_mixing_law_is_recovered_from_noisy_losses():
    rng = np.random.default_rng(5)
    X = rng.dirichlet(np.ones(4), 80)
    truth = np.array([2.0, 0.5, -1.0, 1.0, -3.0])
    fit = fit_loglinear(X, loglinear(truth, X) + 0.002 * rng.standard_normal(80))
    np.testing.assert_allclose(fit, truth, atol=0.15)
    fresh = rng.dirichlet(np.ones(4), 50)
    np.testing.assert_allclose(loglinear(fit, fresh), loglinear(truth, fresh), atol=0.01)


def test_fewer_rows_than_coefficients_still_fit():
    X = np.random.default_rng(0).dirichlet(np.ones(8), 4)
    fit = fit_loglinear(X, np.array([1.0, 1.2, 1.1, 1.4]))
    assert np.isfinite(loglinear(fit, X)).all()


def test_counts_are_read_or_refused():
    assert parse_counts("32, 64,128") == [32, 64, 128]
    for text in ("", "32,,64", "all", "-3", "0"):
        with pytest.raises(BenchError, match="must be positive, parted by commas"):
            parse_counts(text)
