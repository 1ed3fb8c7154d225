"""A study of endings on the proxy: what sharing saves is foreseen, recorded and true."""

import pytest

from mixopt.analysis.attribution import attribution_schedules
from mixopt.analysis.controls import control_schedules, controls
from mixopt.proxy import ProxyTrainer, tokens_with_sharing
from mixopt.space import Fidelity, Schedule, SearchSpace
from mixopt.study import Study, run_trial
from mixopt.study.comparisons import comparison_values, plan_runs
from mixopt.study.cost import trained_tokens

BASE = {"up": 0.6, "down": 0.3, "odd": 0.1}
RICH = {"up": 0.2, "down": 0.2, "odd": 0.6}


def make(tokens=1600, ending=None, initial=8):
    space = SearchSpace(
        domains=tuple(BASE),
        phases=[
            {"name": "base", "fixed": BASE},
            {"name": "ending", "fraction": [0, 0.1, 0.2, 0.3], "learning_rate": ending},
        ],
        baseline=BASE,
        learning_rate={"warmup": 0.1, "decay": 0.3},
    )
    size = Fidelity(parameters=3000, tokens=tokens)
    return Study("s", space, {"odd": 1.0}, storage=None, fidelity=size, initial=initial)


def test_every_ending_of_a_round_branches_off_one_of_a_few_trunks(corpus, settings, tmp_path):
    settings = settings.model_copy(update={"branch_points": (0.7, 0.8, 0.9)})
    study = make()
    trials = study.ask()
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    for trial in trials:
        run_trial(study, trainer, trial)
    cost = trained_tokens(study.state())
    assert cost.runs == 8
    assert cost.scheduled == 8 * 1600
    assert cost.trained == sum(tokens_with_sharing(trials, settings))
    # One whole run per trunk; the others train their endings alone, to within a batch.
    leaders = {t.seed: t.id for t in reversed(trials)}
    assert 2 <= len(leaders) <= 3
    rest = [t for t in trials if t.id not in leaders.values()]
    endings = sum(t.schedule.upsample_fraction * 1600 for t in rest)
    assert abs(cost.trained - len(leaders) * 1600 - endings) <= 8 * 64


def test_attribution_and_controls_train_one_trunk_per_seed(corpus, settings, tmp_path):
    study = make()
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    ended = Schedule.two_phase(BASE, RICH, 0.2, study.space.learning_rate)

    def finish(schedules):
        for trial in study.add_trials(plan_runs(study.state(), schedules, seeds=2)):
            assert run_trial(study, trainer, trial)
        return comparison_values(study.state(), schedules)

    finish(attribution_schedules(ended, "odd"))
    assert trained_tokens(study.state()).trained == 2 * (1600 + 320)
    schedules = control_schedules(ended)
    found = controls(schedules, finish(schedules))
    # The base goes on from the trunk; the static control shares nothing.
    assert trained_tokens(study.state()).trained == 2 * (1600 + 320 + 320 + 1600)
    assert found.total["odd"].mean < 0
    parts = found.exposure["odd"].mean + found.order["odd"].mean
    assert parts == pytest.approx(found.total["odd"].mean, abs=1e-12)


def test_a_searched_peak_is_trained_with_and_endings_share_their_trunk(corpus, settings, tmp_path):
    study = make(
        ending={"peak": {"min": 1e-3, "max": 3e-2}, "warmup": [0, 0.1], "decay": "rest"},
        initial=9,
    )
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    trials = []
    for size in (None, 3):
        for trial in study.ask(size):
            assert run_trial(study, trainer, trial)
            trials.append(trial)
    ended = [t.schedule.phases[1].learning_rate for t in trials if len(t.schedule.phases) > 1]
    assert len(ended) >= 8
    # Several may go to an end of the range; inside it no two are alike.
    inside = [rule.peak for rule in ended if 1e-3 < rule.peak < 3e-2]
    assert len(set(inside)) == len(inside) >= 5
    assert {rule.warmup for rule in ended} <= {0, 0.1}
    # What differs between two endings is after their trunk, which is trained once.
    assert trained_tokens(study.state()).trained == sum(tokens_with_sharing(trials, settings))
    assert trained_tokens(study.state()).saved > 0.4
    assert 1e-3 <= study.recommend().schedule.phases[-1].learning_rate.peak <= 3e-2
