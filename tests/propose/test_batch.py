import numpy as np
import pytest
from standin import Landscape, Standin, make_space

from mixopt.errors import StudyError
from mixopt.propose import Evidence, Sharing, initial_design, propose_batch, schedule_distance
from mixopt.propose.acquisition.trunk_value import Decision
from mixopt.propose.candidates.distance import NEAR
from mixopt.propose.candidates.pool import draws, endings
from mixopt.propose.problem import Problem
from mixopt.space import Guardrail, Objective, PhaseSpace, SearchSpace, geometry_of
from mixopt.surrogate import SurrogateSettings, fit_surrogate

QUICK = SurrogateSettings(restarts=1, iterations=30, gp_iterations=20, laws=("shared law",))


def setting(d=4, phases=1, n=14, order=None, noise=0.01, **extra):
    space = make_space(d, phases, order=order, **extra)
    land = Landscape(space, noise)
    seen = land.evidence(initial_design(space, n, seed=0, include=[space.baseline_schedule]))
    objective = Objective(weights=dict.fromkeys(land.metrics, 1 / d))
    return space, land, seen, objective


def real(space, seen):
    return fit_surrogate(
        geometry_of(space).layout, seen.X, seen.Y, seen.metrics, space.names, settings=QUICK
    )


def distances(space, schedules, others):
    X = np.array([geometry_of(space).encode(s) for s in schedules])
    own = schedule_distance(geometry_of(space).layout, X, X)
    np.fill_diagonal(own, np.inf)
    return min(own.min(), schedule_distance(geometry_of(space).layout, X, others).min())


@pytest.mark.parametrize("phases", [1, 2])
def test_a_batch_holds_new_feasible_schedules(phases):
    space, _, seen, objective = setting(4, phases)
    surrogate = Standin(space, seen, 0.01)
    pending = initial_design(space, 3, seed=9)
    batch = propose_batch(space, objective, surrogate, seen, 4, pending=pending, seed=1)
    assert len(batch) == 4
    assert all(not geometry_of(space).broken(s, 1e-6) for s in batch)
    known = np.vstack([seen.X, *(geometry_of(space).encode(s)[None] for s in pending)])
    assert distances(space, batch, known) >= 0.9 * NEAR


@pytest.mark.parametrize("phases", [1, 2])
@pytest.mark.parametrize("q", [1, 3, 8])
def test_a_batch_is_whole_and_the_same_on_every_replay(phases, q):
    space, _, seen, objective = setting(4, phases)
    surrogate = Standin(space, seen, 0.01)
    batch = propose_batch(space, objective, surrogate, seen, q, seed=5)
    assert len(batch) == q
    assert batch == propose_batch(space, objective, surrogate, seen, q, seed=5)
    assert batch != propose_batch(space, objective, surrogate, seen, q, seed=6)


@pytest.mark.parametrize("phases", [1, 2])
def test_permuting_the_domains_permutes_the_batch(phases):
    batches = []
    for order in ("abcd", "dbca"):
        space, _, seen, objective = setting(4, phases, order=order)
        batches.append(propose_batch(space, objective, Standin(space, seen, 0.01), seen, 4, seed=2))
    for one, other in zip(*batches, strict=True):
        assert [p.fraction for p in one.phases] == [p.fraction for p in other.phases]
        for p, q in zip(one.phases, other.phases, strict=True):
            assert dict(q.mixture) == pytest.approx(dict(p.mixture), abs=1e-5)


def test_the_real_surrogate_proposes_better_than_what_was_seen():
    space, land, seen, objective = setting(5, 2, 20)
    batch = propose_batch(space, objective, real(space, seen), seen, 6, seed=0)
    w = np.full(5, 0.2)
    true = [float(land(geometry_of(space).encode(s))[0] @ w) for s in batch]
    assert min(true) < (land(seen.X) @ w).min()
    assert np.median(true) < np.quantile(land(seen.X) @ w, 0.3)


def rounds(propose, seed, space, land, objective):
    w = objective.coefficients(list(land.metrics))
    schedules = initial_design(space, 10, seed=seed, include=[space.baseline_schedule])
    for turn in range(3):
        seen = land.evidence(schedules, seed)
        surrogate = Standin(space, seen, land.noise, seed=turn)
        schedules = schedules + propose(space, objective, surrogate, seen, 5, seed=9 * seed + turn)
    return min(float(land(geometry_of(space).encode(s))[0] @ w) for s in schedules)


def at_random(space, _objective, _surrogate, _seen, q, seed):
    return [
        geometry_of(space).decode(row)
        for row in draws(geometry_of(space), q, np.random.default_rng(seed))
    ]


def test_three_rounds_reach_clearly_lower_regret_than_random_ones():
    space = make_space(5, 1, epochs=50)
    land = Landscape(space, 0.005)
    objective = Objective(weights={"a": 0.6, "d": 0.4})
    w = objective.coefficients(list(land.metrics))
    best = (
        land(geometry_of(space).sample(20_000, np.random.default_rng(0), vertices=0.02)) @ w
    ).min()
    ours = np.mean([rounds(propose_batch, s, space, land, objective) - best for s in range(2)])
    random = np.mean([rounds(at_random, s, space, land, objective) - best for s in range(2)])
    assert ours < 0.5 * random


def test_guardrails_keep_proposals_where_they_hold():
    space, land, seen, _ = setting(4, 1, 20, epochs=50)
    free = Objective(weights={"a": 1.0})
    limit = float(land(geometry_of(space).encode(space.baseline_schedule))[0, 1]) + 0.03
    rail = Objective(weights={"a": 1.0}, guardrails=(Guardrail(metric="b", bound=limit),))
    surrogate = Standin(space, seen, 0.01)

    def over(objective):
        batch = propose_batch(space, objective, surrogate, seen, 6, seed=0)
        return np.array([land(geometry_of(space).encode(s))[0, 1] - limit for s in batch])

    assert np.median(over(free)) > 0.05
    assert np.median(over(rail)) < 0.01


def off_known_trunks(space, seen, batch):
    """Rounded trunks of the evidence that endings of the batch branch off."""
    trunks = {tuple(np.round(row[:4], 6)) for row in seen.X}
    rows = [geometry_of(space).encode(s) for s in batch if s.upsample_fraction > 0]
    return [row for row in rows if tuple(np.round(row[:4], 6)) in trunks]


def test_endings_off_known_trunks_are_taken_where_trunks_are_shared():
    space, _, seen, objective = setting(4, 2, 16)
    surrogate = Standin(space, seen, 0.01)
    points = Sharing(branch_points=(0.7, 0.8, 0.9))
    batch = propose_batch(space, objective, surrogate, seen, 8, seed=0, sharing=points)
    assert len(off_known_trunks(space, seen, batch)) >= 2
    never = Sharing(possible=False)
    batch = propose_batch(space, objective, surrogate, seen, 8, seed=0, sharing=never)
    assert len(off_known_trunks(space, seen, batch)) == 0


def test_a_trunk_is_taken_for_its_worth_per_token_trained():
    space, _, seen, objective = setting(4, 2, 16)
    problem = Problem.of(space, objective, Standin(space, seen, 0.01), seen)
    rng = np.random.default_rng(0)
    base = problem.X[geometry_of(space).layout.split(problem.X)[1][:, -1] > 0][0]
    off = endings(problem.geometry, base, 64, rng)
    free = draws(problem.geometry, 64, rng)
    worth = {}
    for possible in (True, False):
        trained = [problem.decode(row) for row in problem.X] if possible else []
        decision = Decision(Sharing(branch_points=(0.7, 0.8, 0.9)), trained)
        worth[possible] = decision.gain_per_share(problem, np.vstack([off, free]))
    # The gain is the same; the cost of an ending off the trunk is its own fraction.
    fraction = geometry_of(space).layout.split(off)[1][:, -1]
    np.testing.assert_allclose(
        worth[True][: len(off)] * fraction, worth[False][: len(off)], rtol=1e-6
    )
    np.testing.assert_allclose(worth[True][len(off) :], worth[False][len(off) :], rtol=1e-6)


def test_what_was_chosen_is_no_gain_again():
    space, _, seen, objective = setting(4, 2, 16)
    problem = Problem.of(space, objective, Standin(space, seen, 0.01), seen)
    rows = draws(problem.geometry, 200, np.random.default_rng(1))
    decision = Decision(Sharing(), [])
    before = decision.gain_per_share(problem, rows)
    best = int(np.argmax(before))
    decision.taken(problem, [rows[best]])
    after = decision.gain_per_share(problem, rows)
    assert before[best] > 0
    assert after[best] == pytest.approx(0, abs=1e-12)
    assert (after <= before * 1.0001 + 1e-12)[np.arange(200) != best].mean() > 0.9


def test_replicates_repeat_the_incumbent():
    space, _, seen, objective = setting()
    surrogate = Standin(space, seen, 0.01)
    batch = propose_batch(space, objective, surrogate, seen, 3, seed=0, replicates=2)
    assert batch[0] == batch[1]
    best = int(np.argmin(surrogate.predict(seen.X).mean.mean(1)))
    assert geometry_of(space).encode(batch[0]) == pytest.approx(seen.X[best], abs=1e-3)


@pytest.mark.parametrize("order", ["abcd", "dbca"])
def test_a_batch_among_given_rows_takes_new_ones_of_them(order):
    space, _, seen, objective = setting(4, order=order)
    geometry = geometry_of(space)
    rows = np.vstack([seen.X, draws(geometry, 40, np.random.default_rng(4))])
    surrogate = Standin(space, seen, 0.01)
    batch = propose_batch(space, objective, surrogate, seen, 6, seed=0, candidates=rows)
    chosen = np.array([geometry.encode(s) for s in batch])
    gap = np.abs(chosen[:, None] - rows[None]).max(-1)
    assert gap.min(1).max() < 1e-3
    picked = gap.argmin(1)
    assert len(set(picked.tolist())) == 6
    assert picked.min() >= len(seen.X)
    value = surrogate.predict(rows[len(seen.X) :]).mean.mean(1)
    assert picked[0] == len(seen.X) + int(np.argmin(value))


def test_errors_say_what_was_given():
    space, _, seen, objective = setting(3, 1, 6)
    surrogate = Standin(space, seen, 0.01)
    with pytest.raises(StudyError, match="got 0 trials and 0 replicates"):
        propose_batch(space, objective, surrogate, seen, 0, seed=0)
    with pytest.raises(StudyError, match=r"needs the metrics \['zz'\], which no trial measured"):
        propose_batch(space, Objective(weights={"zz": 1.0}), surrogate, seen, 1, seed=0)
    with pytest.raises(StudyError, match="the space's 8 columns; got 3"):
        propose_batch(make_space(3, 2), objective, surrogate, seen, 1, seed=0)


def test_a_space_with_nothing_new_says_so():
    space = SearchSpace(
        domains=[{"name": n, "tokens": 1} for n in "ab"],
        phases=[PhaseSpace(bounds={"a": (0.4, 0.4)})],
    )
    land = Landscape(space)
    seen = land.evidence(initial_design(space, 1, seed=0))
    objective = Objective(weights={"a": 1.0})
    with pytest.raises(StudyError, match="every schedule of the space was tried already"):
        propose_batch(space, objective, Standin(space, seen, 0.01), seen, 1, seed=0)


def test_evidence_refuses_what_does_not_fit():
    X, Y = np.ones((2, 3)), np.ones((2, 1))
    with pytest.raises(StudyError, match="2 trials and 1 metrics needs X of 2 rows"):
        Evidence(X, np.ones((3, 1)), ("a",), ("t0", "t1"))
    Y[1, 0] = np.nan
    with pytest.raises(StudyError, match="'a' of trial 't1' is nan"):
        Evidence(X, Y, ("a",), ("t0", "t1"))


def test_an_impossible_guardrail_gives_the_least_broken():
    space, _, seen, _ = setting(4, epochs=50.0)
    surrogate = Standin(space, seen, 0.01)
    rail = Objective(weights={"a": 1.0}, guardrails=(Guardrail(metric="b", bound=0.1),))
    batch = propose_batch(space, rail, surrogate, seen, 2, seed=1)
    assert min(s.base["b"] for s in batch) > 0.5
