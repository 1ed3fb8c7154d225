import numpy as np
import pytest

from mixopt.bench import BenchError, search
from mixopt.bench.methods import Task
from mixopt.bench.search import METHODS, Round, _first_rows, _gp


def test_a_study_tries_each_row_once_and_regret_only_falls(law_table):
    table = law_table(60, test=0)
    rows = search(table, budget=20, batch=6, repeats=2, methods=["random", "mixing-laws", "olmix"])
    assert [(r["method"], r["objective"]) for r in rows] == [
        ("random", "mean"),
        ("mixing-laws", "mean"),
        ("olmix", "mean"),
    ]
    for row in rows:
        assert row["trials"] == [6, 12, 18, 20]
        assert (np.diff(row["regret"]) <= 0).all()
        assert row["regret"][-1] == row["regret_final"] >= 0
        assert 0 <= row["reached"] <= 1


def test_the_true_law_finds_the_best_row_at_once(law_table):
    table = law_table(200, test=0)
    row = search(table, budget=16, batch=8, repeats=3, methods=["mixing-laws"])[0]
    assert row["trials_to_top1"] == 9.0
    assert row["regret_final"] == pytest.approx(0.0, abs=1e-9)


def test_ours_beats_chance(law_table):
    table = law_table(80, d=4, test=0)
    args = {"budget": 12, "batch": 6, "repeats": 1, "objectives": ["d0"]}
    ours = search(table, methods=["mixopt"], **args)[0]
    assert ours["regret_final"] < 0.02
    assert ours["seconds"] > 0


def test_ours_begins_near_the_mixture_that_matches_the_objective(law_table):
    table = law_table(80, d=4, test=0)
    alone = np.eye(len(table.metrics))[1]
    first = _first_rows(table, alone, "mixopt", 5, seed=0)
    own = table.X[:, table.domains.index(table.metrics[1])]
    assert own[first[0]] >= np.sort(own)[-4]
    assert len(set(first)) == 5
    others = {_first_rows(table, alone, name, 5, seed=0)[0] for name in ("unmatched", "random")}
    assert first[0] not in others


def test_never_reaching_the_top_is_none_not_a_number(law_table):
    table = law_table(300, test=0)
    row = search(table, budget=2, batch=2, repeats=4, methods=["random"])[0]
    assert row["reached"] < 0.5
    assert row["trials_to_top1"] is None


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_picks_different_open_rows(law_table, name):
    if name in {"regmix", "climb"}:
        pytest.importorskip("lightgbm", reason="the extra 'bench' is not installed")
    table = law_table(40, test=0)
    tried = np.arange(10)
    task = Task(table.X[tried], table.Y[tried], table.metrics, table.domains, 3)
    now = Round(task, table.X, np.arange(10, 40), np.array([0.5, 0.5]), 5)
    picked = METHODS[name](now)
    assert len(set(picked.tolist())) == 5
    assert set(picked.tolist()) <= set(range(10, 40))


def test_expected_improvement_does_not_pick_one_place_twice():
    # Two near-identical best rows: once one is believed, the other has little left to gain.
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(2), 30)
    X[20] = X[21]
    y = (X[:, 0] - 0.5) ** 2
    task = Task(X[:8], y[:8, None], ("a",), ("p", "q"), 0)
    picked = _gp(Round(task, X, np.arange(8, 30), np.ones(1), 4)).tolist()
    assert not {20, 21} <= set(picked)


def test_what_cannot_be_searched_is_refused(law_table):
    table = law_table(20, test=0)
    with pytest.raises(BenchError, match=r"must be one of mixopt, .*got 'luck'"):
        search(table, methods=["luck"], budget=4, batch=2)
    with pytest.raises(BenchError, match=r"rows of the pool \(20\).*budget 64"):
        search(table)
    with pytest.raises(BenchError, match="an objective must be one of d0, d1, mean; got 'french'"):
        search(table, budget=4, batch=2, objectives=["french"])
