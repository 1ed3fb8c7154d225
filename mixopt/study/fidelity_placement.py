"""A study whose trials differ in size and length: who runs where, and what they tell of the target.

The target is the space's, or else the highest fidelity of the study. Trials of every fidelity go
into one surrogate of the losses there; rounds are spread over the fidelities by what a run tells of
the target per FLOP, and a few runs are always bought at the highest one that can be paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Schedule, SearchSpace, geometry_of
from mixopt.study.budget import trial_cost
from mixopt.study.config import derived_seed
from mixopt.study.results.recording import named
from mixopt.study.state import StudyState

if TYPE_CHECKING:
    from mixopt.propose import Evidence, Recommendation
    from mixopt.surrogate import ScaleSurrogate, Surrogate

#: Factor in parameters or tokens beyond the highest trials from which a reader is warned.
FAR = 4.0

#: A schedule and where it is run.
Placed = tuple[Schedule, Fidelity]


def ordered_fidelities(
    fidelities: Sequence[Fidelity], fidelity: Fidelity | None
) -> tuple[Fidelity, ...]:
    """Different fidelities, cheapest first; none where there is only one to choose from.

    Raises:
        StudyError: If another than the highest is given as the one fidelity beside several.
    """
    found = tuple(sorted(set(fidelities), key=lambda f: (f.flops, f.parameters)))
    if found and fidelity is not None and fidelity != found[-1]:
        raise StudyError(
            f"a study takes `fidelity` or `fidelities`; got {named(fidelity)} beside "
            f"{', '.join(map(named, found))}",
            "leave `fidelity` out: confirmation runs are made at the highest of `fidelities`",
        )
    return found


def target_of(space: SearchSpace, highest: Fidelity) -> Fidelity:
    """The fidelity that predictions speak of."""
    return space.target or highest


def fit_evidence(
    state: StudyState, evidence: Evidence
) -> tuple[Evidence, Surrogate | ScaleSurrogate]:
    """The surrogate of a study's evidence, and the evidence as it sees it.

    With several fidelities the values are those extrapolated to the target.
    """
    from mixopt.surrogate import fit_scale_surrogate, fit_surrogate

    space, seed = state.space, derived_seed(state.seed, "surrogate")
    rows = geometry_of(space).layout.trained_on(state.fidelity.tokens), evidence.X
    names = evidence.metrics, space.names
    groups = np.array(state.seed_groups(evidence.ids))
    if not state.config.fidelities:
        return evidence, fit_surrogate(*rows, evidence.Y, *names, seed=seed, groups=groups)
    where = trial_fidelities(state, evidence.ids)
    fit = fit_scale_surrogate(
        *rows,
        np.array([float(f.parameters) for f in where]),
        np.array([float(f.tokens) for f in where]),
        evidence.Y,
        *names,
        target=target_of(space, state.fidelity),
        seed=seed,
        groups=groups,
    )
    return type(evidence)(evidence.X, fit.extrapolated, evidence.metrics, evidence.ids), fit


def trial_fidelities(state: StudyState, ids: Sequence[str]) -> list[Fidelity]:
    """The fidelity of each trial."""
    found = {r.trial.id: r.trial.fidelity for r in state.records}
    return [found[name] for name in ids]


def distinct_initial(state: StudyState, trials: int) -> int:
    """Schedules of an initial design of so many trials, some of them run at several fidelities."""
    return trials - _repeats(state, trials)[1]


def _repeats(state: StudyState, trials: int) -> tuple[int, int]:
    """Schedules repeated at the highest fidelity, and all repetitions."""
    from mixopt.propose.fidelity_choice import HIGH_SHARE, high_count

    many = len(state.config.fidelities)
    if many < 2:
        return 0, 0
    # Three schedules run at both are the least that a rank agreement can be told from.
    top = min(max(high_count(trials, HIGH_SHARE), 3), max(trials // 3, 1))
    middle = min(many - 2, max(trials - 2 * top, 0))
    return top, min(top + middle, trials - 1)


def place_initial(state: StudyState, schedules: Sequence[Schedule], trials: int) -> list[Placed]:
    """The design at the cheapest fidelity, its first schedules at the others too.

    Pairs say how one fidelity goes over into another; the baseline is run at every one.
    """
    sizes = state.config.fidelities
    if not sizes:
        return [(s, state.fidelity) for s in schedules]
    top, extra = _repeats(state, trials)
    pairs = [(schedules[i % len(schedules)], sizes[-1]) for i in range(min(top, extra))]
    pairs += [(schedules[0], size) for size in sizes[1:-1][: extra - len(pairs)]]
    # The pairs come first after the baseline, so that a short budget cuts single runs.
    first = (schedules[0], sizes[0])
    return paid(state, [first, *pairs, *((s, sizes[0]) for s in schedules[1:])])


def place_proposed(
    state: StudyState, surrogate: Surrogate | ScaleSurrogate, schedules: Sequence[Schedule]
) -> list[Placed]:
    """Each proposed schedule at the fidelity that tells most of the target per FLOP."""
    from mixopt.propose.fidelity_choice import choose_fidelities
    from mixopt.surrogate import ScaleSurrogate

    if not isinstance(surrogate, ScaleSurrogate):
        return [(s, state.fidelity) for s in schedules]
    budget = state.settings.budget
    left = budget.left(state.spent).get("flops", np.inf) if budget else np.inf
    sizes = choose_fidelities(
        state.space,
        state.objective,
        surrogate,
        schedules,
        state.config.fidelities,
        cost=lambda _schedule, fidelity: state.settings.flops(fidelity),
        left=float(left),
    )
    return paid(state, list(zip(schedules, sizes, strict=False)), step_down=True)


def paid(state: StudyState, placed: Sequence[Placed], step_down: bool = False) -> list[Placed]:
    """Those of the runs, in this order, that the budget still pays for.

    Args:
        state: Has the budget.
        placed: The runs wanted.
        step_down: Whether a run that cannot be paid for is made at a cheaper fidelity.
    """
    if state.settings.budget is None:
        return list(placed)
    left = state.settings.budget.left(state.spent)
    kept = []
    for schedule, size in placed:
        below = [f for f in state.config.fidelities[::-1] if f.flops < size.flops and step_down]
        for choice in (size, *below):
            cost = trial_cost(choice, state.settings.flops)
            if any(left[k] * (1 + 1e-9) < cost[k] for k in cost if k in left):
                continue
            left |= {k: left[k] - cost[k] for k in cost if k in left}
            kept.append((schedule, choice))
            break
    return kept


def at_target(
    state: StudyState, recommendation: Recommendation, surrogate: Surrogate | ScaleSurrogate
) -> Recommendation:
    """The recommendation with its target, and with what was really observed nearest to it.

    Values of cheaper trials are never shown as observed: the best observed is one of the highest
    fidelity that has finished.
    """
    from mixopt.propose import Observed, RankAgreement
    from mixopt.surrogate import ScaleSurrogate

    if not isinstance(surrogate, ScaleSurrogate):
        return recommendation
    finals, seen = state.finals, state.learned_from
    top = max((t.fidelity for t in seen), key=lambda f: f.flops)
    values = {t.id: state.objective.value(finals[t.id]) for t in seen if t.fidelity == top}
    best = min(values, key=lambda name: values[name])
    chosen = next(t for t in seen if t.id == best)
    base = state.space.baseline_schedule
    same = [values[t.id] for t in seen if t.id in values and t.schedule == base]
    agreement = tuple(
        RankAgreement(low=a.low, high=a.high, mixtures=a.mixtures, spearman=a.spearman)
        for a in surrogate.agreement
    )
    return recommendation.model_copy(
        update={
            "target": surrogate.target,
            "agreement": agreement,
            "best_observed": Observed(
                trial=best, value=values[best], schedule=chosen.schedule, fidelity=top
            ),
            "baseline_observed": float(np.mean(same)) if same else None,
            "baseline_runs": len(same),
            "notes": (*recommendation.notes, *_notes(state, surrogate, top, len(values))),
        }
    )


def _notes(state: StudyState, surrogate: ScaleSurrogate, top: Fidelity, runs: int) -> list[str]:
    """What to know about predictions that speak of a target."""
    w = state.objective.coefficients(list(surrogate.metrics))
    level = float(np.sqrt(w @ surrogate.level @ w))
    said = [
        f"predictions are of {named(surrogate.target)}, from trials of "
        f"{len(state.config.fidelities)} fidelities, {runs} of them at the highest "
        f"({named(top)}); the level there is known to {1.96 * level:.3g} (95 %), which moves all "
        "schedules alike"
    ]
    far = max(surrogate.target.parameters / top.parameters, surrogate.target.tokens / top.tokens)
    if far > FAR:
        said.append(
            f"the target lies a factor of {far:.3g} beyond the highest trials: how mixtures rank "
            "there is extrapolated too, so confirm at the largest run you can afford"
        )
    if not surrogate.agreement:
        said.append("no two fidelities share three schedules: their rank agreement is not known")
    worst = min(surrogate.agreement, key=lambda a: a.spearman, default=None)
    if worst is not None and worst.spearman < 0.7:
        said.append(
            f"the ranking at {named(worst.low)} agrees little with that at {named(worst.high)} "
            f"(Spearman {worst.spearman:.2f} over {worst.mixtures} schedules): trust larger runs"
        )
    return said
