"""Dynamic schedules under laws whose limit is known."""

import numpy as np
import pytest
import torch
from standin import Landscape, make_space

from mixopt.analysis.dynamic_schedules import dynamic_schedules
from mixopt.analysis.phase_laws import fitted_losses
from mixopt.analysis.phase_limits import phase_space
from mixopt.errors import StudyError
from mixopt.laws import effective_mixture
from mixopt.propose import initial_design
from mixopt.space import Fidelity, Objective, PhaseSpace, SearchSpace, geometry_of


def scarce(**changes):
    """Two domains; the good one lasts for a tenth of the run."""
    settings = {
        "domains": [{"name": "good", "tokens": 100}, {"name": "plenty", "tokens": 10_000}],
        "target": Fidelity(parameters=1, tokens=1000),
        "max_epochs": 1.0,
    }
    return SearchSpace(**{**settings, **changes})


def recent(kappa, shift=0.0):
    """A loss that wants the scarce domain, the more so the later it is read."""

    def loss(W, F):
        seen = effective_mixture(torch.as_tensor([float(kappa)], dtype=W.dtype), W, F)[0]
        return 3 - seen[:, 0] + shift * seen[:, 0] ** 2

    return loss


def test_scarce_text_moves_to_the_end_with_its_boundary():
    laws = [recent(3.0), recent(2.8), recent(3.2)]
    found = dynamic_schedules(scarce(), laws, most=4)
    assert [c.phases for c in found.counts] == [1, 2, 3, 4]
    values = [c.predicted for c in found.counts]
    assert max(np.diff(values)) < 1e-9
    two = found.counts[1].schedule
    # All of it, alone, in the last tenth of the run: nothing can be better.
    assert two.upsample_fraction == pytest.approx(0.1, abs=0.01)
    assert two.ending["good"] == pytest.approx(1, abs=0.05)
    assert two.base["good"] == pytest.approx(0, abs=5e-3)
    assert two.exposure()["good"] == pytest.approx(0.1, abs=1e-4)
    assert found.counts[1].pays
    assert found.enough == 2
    assert found.counts[2].gain.mean == pytest.approx(0, abs=2e-3)


def wave(W, F):
    """A loss that wants the good text in the second third of the run and nowhere else."""
    end = F.cumsum(-1)
    inside = (end.clamp(max=2 / 3) - (end - F).clamp(min=1 / 3)).clamp(min=0.0)
    return 2 - (inside * W[..., 0]).sum(-1) + ((F - inside) * W[..., 0]).sum(-1)


def test_more_phases_pay_until_they_fit_the_shape_of_the_law():
    space = SearchSpace(domains=["good", "plenty"], baseline="uniform")
    found = dynamic_schedules(space, [wave, wave, wave], most=5, worth=0.005)
    assert found.enough == 3
    three = found.counts[2]
    assert three.predicted == pytest.approx(2 - 1 / 3, abs=0.01)
    assert [p.fraction for p in three.schedule.phases] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert [round(p.mixture["good"]) for p in three.schedule.phases] == [0, 1, 0]


def test_without_recency_more_phases_do_not_pay():
    found = dynamic_schedules(scarce(), [recent(0.0), recent(1e-3), recent(-1e-3)], most=2)
    assert found.enough == 1
    assert found.counts[1].gain.mean == pytest.approx(0, abs=1e-3)
    assert found.counts[0].predicted == pytest.approx(2.9, abs=1e-4)


def test_judges_that_disagree_do_not_call_a_gain_one():
    laws = [recent(3.0), recent(3.0), recent(-3.0)]
    found = dynamic_schedules(scarce(), laws, most=2)
    assert found.counts[1].predicted < found.counts[0].predicted - 0.01
    assert not found.counts[1].pays
    assert found.enough == 1


def test_smoothness_makes_small_steps_and_a_gain_must_be_worth_it():
    laws = [recent(3.0), recent(2.9), recent(3.1)]
    rough = dynamic_schedules(scarce(), laws, most=3).counts[-1].schedule
    smooth = dynamic_schedules(scarce(), laws, most=3, smoothness=0.5).counts[-1].schedule

    def jump(schedule):
        good = [p.mixture["good"] for p in schedule.phases]
        return np.abs(np.diff(good)).max()

    assert jump(smooth) < 0.5 * jump(rough)
    assert smooth.phases[-1].mixture["good"] > smooth.phases[0].mixture["good"]
    assert dynamic_schedules(scarce(), laws, most=2, worth=10.0).enough == 1


def test_phases_keep_the_rules_of_the_place_they_stand_in():
    phases = [
        PhaseSpace(name="base", bounds={"good": (0.0, 0.1)}),
        PhaseSpace(name="ending", fraction=(0.0, 0.1, 0.3), bounds={"good": (0.0, 0.5)}),
    ]
    space = SearchSpace(domains=["good", "plenty"], phases=phases, baseline="uniform")
    found = dynamic_schedules(space, [recent(3.0), recent(2.9), recent(3.1)], most=4)
    for count in found.counts[1:]:
        late = 0.0
        for phase, rule in zip(count.schedule.phases, count.rules, strict=True):
            assert phase.mixture["good"] <= {"base": 0.1, "ending": 0.5}[rule] + 1e-6
            late += phase.fraction * (rule == "ending")
        assert late == pytest.approx(0.3, abs=1e-6)
        assert list(count.rules) == sorted(count.rules)


def test_a_space_of_many_phases_keeps_bounds_and_caps():
    space = phase_space(make_space(4, 2), [0, 0, 1, 1])
    assert [p.fraction for p in space.phases] == [0.25] * 4
    assert space.epoch_limits() == make_space(4, 2).epoch_limits()
    assert len(geometry_of(space).fraction_choices) == 1


def test_laws_fitted_to_two_phases_judge_four():
    land = Landscape(make_space(3, 2), recency=0.6, noise=0.001)
    evidence = land.evidence(initial_design(land.space, 30, seed=0))
    wanted = Objective(weights={"a": 0.5, "b": 0.5})
    losses = fitted_losses(land.space, wanted, evidence, seed=0)
    assert len(losses) == 6
    W, F = geometry_of(land.space).layout.split(torch.as_tensor(evidence.X))
    truth = evidence.Y @ evidence.coefficients(wanted)
    seen = losses[0](W, F).numpy()
    assert np.corrcoef(seen, truth)[0, 1] > 0.98
    # Splitting a phase in two equal ones changes nothing.
    halves = torch.stack([W[:, 0], W[:, 0], W[:, 1], W[:, 1]], 1)
    parts = torch.stack([F[:, 0] / 2, F[:, 0] / 2, F[:, 1] / 2, F[:, 1] / 2], 1)
    assert losses[0](halves, parts).numpy() == pytest.approx(seen, abs=1e-9)
    found = dynamic_schedules(land.space, losses, most=2)
    assert found.counts[1].predicted <= found.counts[0].predicted + 1e-9


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(StudyError, match="a law and two judges"):
        dynamic_schedules(scarce(), [recent(1.0), recent(1.0)])
    land = Landscape(make_space(3, 1))
    evidence = land.evidence(initial_design(land.space, 12, seed=0))
    with pytest.raises(StudyError, match="learned from trials of two phases; the study has none"):
        fitted_losses(land.space, Objective(weights={"a": 1.0}), evidence)
    land = Landscape(make_space(3, 2))
    evidence = land.evidence(initial_design(land.space, 6, seed=0))
    with pytest.raises(StudyError, match="needs 10 finished trials; got 6"):
        fitted_losses(land.space, Objective(weights={"a": 1.0}), evidence)
