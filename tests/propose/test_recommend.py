import json

import numpy as np
import pytest
import torch
from standin import Exact, Landscape, Standin, make_space

from mixopt.propose import Evidence, Recommendation, initial_design, recommend
from mixopt.propose.candidates.pool import draws
from mixopt.space import Guardrail, Objective, geometry_of
from mixopt.surrogate import SurrogateRow


def study(d=4, phases=1, n=24, noise=0.01, seed=0, recency=0.3, epochs=4.0, **objective):
    space = make_space(d, phases, epochs=epochs)
    land = Landscape(space, noise, recency)
    seen = land.evidence(
        initial_design(space, n, seed=seed, include=[space.baseline_schedule]), seed
    )
    wanted = objective or {"weights": dict.fromkeys(land.metrics, 1 / d)}
    return space, land, Objective(**wanted), Standin(space, seen, noise, seed=seed), seen


def asked(*found, **extra):
    space, _, objective, surrogate, seen = found
    return recommend(space, objective, surrogate, seen, seed=0, **extra)


def value(land, objective, schedule):
    return float(
        land(geometry_of(land.space).encode(schedule))[0]
        @ objective.coefficients(list(land.metrics))
    )


@pytest.mark.parametrize("phases", [1, 2])
def test_it_is_feasible_better_than_the_baseline_and_complete(phases):
    space, land, objective, _, seen = found = study(4, phases)
    got = asked(*found)
    assert not geometry_of(space).broken(got.schedule, 1e-6)
    assert value(land, objective, got.schedule) < value(land, objective, space.baseline_schedule)
    assert got.predicted.low < got.predicted.mean < got.predicted.high
    assert got.best_observed.value == pytest.approx((seen.Y.mean(1)).min())
    assert got.baseline_observed == pytest.approx(seen.Y[0].mean())
    assert got.natural == got.baseline
    assert set(got.metrics) == set(land.metrics)
    assert got.static_control.base == got.schedule.exposure()
    assert max(got.epochs.values()) <= 4 + 1e-3
    assert len(got.trade_off) == (1 if phases == 1 else 4)


def test_differences_leave_out_what_the_baseline_shares():
    space, _, objective, surrogate, seen = found = study(4)
    got = asked(*found)
    gap = got.differences.predicted
    assert gap.mean == pytest.approx(got.predicted.mean - got.baseline.mean)
    rows = np.vstack(
        [
            geometry_of(space).encode(got.schedule),
            geometry_of(space).encode(space.baseline_schedule),
        ]
    )
    w = objective.coefficients(list(seen.metrics))
    draws = surrogate.sample_paths(4000, 1)(torch.as_tensor(rows)).numpy() @ w
    assert gap.sd == pytest.approx((draws[:, 0] - draws[:, 1]).std(), rel=0.2)
    assert got.differences.natural.sd == 0.0  # The baseline itself.


def test_it_can_be_stored_and_read_back():
    got = asked(*study(3, 2))
    text = got.model_dump_json()
    json.loads(text)
    again = Recommendation.model_validate_json(text)
    assert again.schedule == got.schedule
    assert again.upsampling_ratio == got.upsampling_ratio


def test_it_replays():
    found = study(3, 2)
    assert asked(*found) == asked(*found)


def test_static_schedules_stand_beside_endings():
    # What is trained on when does not matter here, and caps do not bind: a static one ties.
    space, land, objective, _, seen = study(4, 2, recency=0.0, epochs=50.0)
    got = asked(space, land, objective, Exact(land), seen)
    points = {p.upsample_fraction: p for p in got.trade_off}
    assert set(points) == {0.0, 0.1, 0.2, 0.3}
    true = {f: value(land, objective, p.schedule) for f, p in points.items()}
    assert true == pytest.approx(dict.fromkeys(true, min(true.values())), abs=1e-3)
    assert all(p.schedule.upsample_fraction == pytest.approx(f) for f, p in points.items())


def test_guardrails_hold_with_the_confidence_asked_for():
    rail = Guardrail(metric="b", slack=0.01, confidence=0.9)
    base = {"weights": {"a": 1.0}}
    space, land, _, _, _ = free = study(4, 1, 30, epochs=50.0, **base)
    limit = land(geometry_of(space).encode(space.baseline_schedule))[0, 1] + 0.01

    def rise(got):
        return land(geometry_of(space).encode(got.schedule))[0, 1] - limit

    assert rise(asked(*free)) > 0.03
    got = asked(*study(4, 1, 30, epochs=50.0, guardrails=(rail,), **base))
    assert rise(got) < 0.005
    (check,) = got.guardrails
    assert check.holds
    assert check.probability >= 0.88
    assert got.metrics["a"].mean < got.baseline_metrics["a"].mean


def test_an_impossible_guardrail_gives_the_baseline_and_says_so():
    rail = Guardrail(metric="b", bound=0.0)
    space, *_ = found = study(3, 1, weights={"a": 1.0}, guardrails=(rail,))
    got = asked(*found)
    assert got.schedule == space.baseline_schedule
    assert any("No schedule was found that keeps every guardrail" in note for note in got.notes)
    assert not got.guardrails[0].holds


def test_notes_name_the_caps_that_bind():
    got = asked(*study(4, 1, 24, weights={"d": 1.0}))
    assert got.epochs["d"] == pytest.approx(4, abs=0.05)
    assert any(note.startswith("d is at its cap of 4 epochs") for note in got.notes)


def test_the_predicted_interval_holds_the_truth():
    # Whole studies on landscapes drawn from the surrogate's own family, with much noise and few
    # trials, so that the choice is bent by luck.
    space = make_space(4, 1, epochs=50)
    land = Landscape(space, 0.05)
    inside = []
    for seed in range(16):
        geometry, center = geometry_of(space), space.natural.to_array(space.names)[None]
        rows = draws(geometry, 12, np.random.default_rng(seed), center)
        clean = land.evidence([geometry.decode(row) for row in rows], seed)
        truth = Standin(space, clean, 1e3, length=0.7).sample_paths(1, seed)
        seen = drawn(clean, truth, seed)
        objective = Objective(weights={"a": 1.0})
        got = recommend(space, objective, Standin(space, seen, 0.05), seen, seed=seed)
        inside.append(got.predicted.low <= at(truth, space, got.schedule) <= got.predicted.high)
    assert np.mean(inside) >= 0.85


def drawn(clean, truth, seed):
    Y = truth(torch.as_tensor(clean.X))[0].numpy()
    noise = 0.05 * np.random.default_rng(1000 + seed).standard_normal(Y.shape)
    return Evidence(clean.X, Y + noise, clean.metrics, clean.ids)


def at(truth, space, schedule):
    return float(truth(torch.as_tensor(geometry_of(space).encode(schedule)[None]))[0, 0, 0])


def test_notes_warn_of_a_surrogate_that_ranks_badly():
    space, _, objective, surrogate, seen = study(3, 1, 14)
    surrogate.report = lambda: tuple(SurrogateRow(metric=m, spearman=0.3) for m in seen.metrics)
    got = asked(space, Landscape(space), objective, surrogate, seen)
    assert any("Spearman correlation of 0.30 only" in note for note in got.notes)
