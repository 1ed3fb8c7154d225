from dataclasses import replace

import numpy as np
import pytest

from mixopt.bench import BenchError, extrapolate, load_table
from mixopt.bench.extrapolate import power_law
from mixopt.bench.tables import PARAMETERS, BenchTable

SIZES = [float(v) for v in PARAMETERS.values()]
STEPS = [10_000.0, 14_000.0, 20_000.0, 30_000.0]


def scaling_table(mixtures=6, noise=0.0, seed=0):
    """Losses from a law in mixture, size and length, at four sizes and four lengths."""
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.ones(3), mixtures)
    grid = [(i, n, s) for i in range(mixtures) for n in SIZES for s in STEPS]
    x = np.array([X[i] for i, _, _ in grid])
    N, S = np.array([g[1] for g in grid]), np.array([g[2] for g in grid])
    level = np.exp(0.2 - 1.5 * x[:, :2])
    size, length = (N / SIZES[0]) ** -0.15, (S / STEPS[0]) ** -0.3
    Y = 1.0 + level + 0.6 * size[:, None] + 0.5 * length[:, None]
    Y = Y + noise * rng.standard_normal(Y.shape)
    ids = tuple(f"{i}-{n:.0f}-{s:.0f}" for i, n, s in grid)
    role = np.full(len(ids), "any")
    weights = {"a": 0.75, "b": 0.25}
    return BenchTable("made", x, Y, ("a", "b"), ("p", "q", "r"), ids, role, N, S, weights)


def test_power_laws_are_recovered_and_share_their_exponent():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    Y = np.array([[2.0], [1.0]]) + np.array([[1.0], [3.0]]) * x**-0.5
    got = power_law(x, Y, 16.0, tied=(0,))
    np.testing.assert_allclose(got, [2.25, 1.75], atol=0.01)


def test_a_rising_curve_is_not_extrapolated_upwards():
    got = power_law(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.1, 1.2]]), 9.0, tied=(0,))
    assert got[0] == pytest.approx(1.1)


def test_the_nested_laws_are_right_where_they_are_true():
    rows = extrapolate(scaling_table(), methods=["nested-laws-no-mixing", "last-seen"])
    nested, last = rows
    assert nested["mae"] < 0.01 < last["mae"]
    assert nested["coverage95"] is None
    assert (nested["mixtures"], nested["train_rows"]) == (6, 6 * 3 * 3)


def test_holes_in_the_grid_are_refused():
    table = scaling_table(noise=0.003)
    target = (table.parameters == SIZES[-1]) | (table.steps == STEPS[-1])
    kept = table.take(target | (np.arange(len(table)) % 5 > 0))
    with pytest.raises(BenchError, match="every mixture they predict at every size and step"):
        extrapolate(kept, methods=["nested-laws"])


def test_losses_at_the_target_change_no_forecast():
    table = scaling_table(noise=0.003)
    target = (table.parameters == SIZES[-1]) | (table.steps == STEPS[-1])
    moved = replace(table, Y=table.Y + 5.0 * target[:, None])
    for name in ("mixopt", "nested-laws", "nested-laws-priors"):
        plain, spoiled = (extrapolate(t, methods=[name])[0] for t in (table, moved))
        assert spoiled["bias"] == pytest.approx(plain["bias"] - 5.0, abs=1e-6)


def test_what_cannot_be_extrapolated_is_refused():
    table = scaling_table()
    with pytest.raises(BenchError, match="lies within what is trained on"):
        extrapolate(table, size="160M", step=14_000)
    with pytest.raises(BenchError, match=r"a size must be one of 70M.*got '1T'"):
        extrapolate(table, size="1T")
    with pytest.raises(BenchError, match=r"must be one of mixopt.*got 'oracle'"):
        extrapolate(table, methods=["oracle"])
    with pytest.raises(BenchError, match=r"has no run at .* step 31000"):
        extrapolate(table, step=31_000)


def test_ours_beats_the_nested_laws_on_redpajama(data):
    table = load_table("redpajama", data)
    # A third of the steps: the figures of all are those of the benchmarks.
    few = table.take(np.isin(table.steps, [10_000, 13_000, 16_000, 20_000, 30_000]))
    ours, theirs = extrapolate(few, methods=["mixopt", "nested-laws"])
    assert ours["mixtures"] == 20
    assert ours["mae"] < 0.8 * theirs["mae"]
    assert ours["coverage95"] >= 0.75
