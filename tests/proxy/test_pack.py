"""Packed proxies: each is the proxy that it would be alone."""

import numpy as np
import pytest
import torch

from mixopt.errors import TrialError
from mixopt.proxy import PackTrainer, ProxyTrainer, architecture, packs
from mixopt.proxy.pack import ProxyPack, pack_step
from mixopt.proxy.step import adamw, train_step
from mixopt.proxy.transformer import Proxy
from mixopt.space import LearningRate, Schedule

from .conftest import make_trial, run

SHAPE = architecture(3000)
MIXTURES = ({"up": 1.0}, {"up": 0.5, "down": 0.5}, {"down": 0.2, "odd": 0.8})


def trials(mixtures=MIXTURES, **given):
    return [make_trial(m, seed=k, trial_id=f"t{k}", **given) for k, m in enumerate(mixtures)]


def packed(corpus, settings, pack):
    """Observations of every trial, as `run` gives them, and what failed."""
    seen = {trial.id: [] for trial in pack}

    def report(observations):
        seen[observations[0].trial] += [(o.tokens, o.metric, o.value) for o in observations]

    trainer = PackTrainer(corpus, settings)
    return seen, trainer.run(pack, report), trainer


def assert_alike(found, expected):
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=2e-4)


@pytest.mark.parametrize("parameters", [3000, 20_000])
def test_a_step_of_a_pack_is_a_step_of_each_proxy(settings, parameters):
    shape = architecture(parameters)
    alone = [Proxy(shape, 32, 16, seed=k) for k in range(4)]
    before = [{n: p.detach().clone() for n, p in m.named_parameters()} for m in alone]
    pack = ProxyPack(alone)
    optimizers = [adamw(model, settings) for model in alone]
    together = adamw(pack, settings)
    assert [g["multiplier"] for g in together.groups] == [
        g["multiplier"] for g in optimizers[0].groups
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        ids = torch.randint(32, (4, 5, 17), generator=generator)
        # A norm above the limit for some, and not for others.
        losses = pack_step(pack, together, ids, 0.02, 0.6, torch.float32)
        each = [
            train_step(m, o, x, 0.02, 0.6, torch.float32)
            for m, o, x in zip(alone, optimizers, ids, strict=True)
        ]
        torch.testing.assert_close(losses, torch.stack(each), rtol=1e-5, atol=1e-5)
    stacked = dict(pack.named_parameters())
    for k, model in enumerate(alone):
        for name, parameter in model.named_parameters():
            # Where a gradient is nearly 0, Adam turns its rounding into a part of a step.
            gap = (stacked[name][k] - parameter).norm() / (parameter - before[k][name]).norm()
            assert gap < 1e-3, name


@pytest.mark.parametrize("split", ["validation", "confirmation"])
def test_each_trial_of_a_pack_ends_as_if_it_were_alone(corpus, settings, split):
    pack = [
        *trials(split=split),
        make_trial(
            Schedule.two_phase(MIXTURES[1], {"up": 0.2, "down": 0.8}, 0.25),
            seed=7,
            trial_id="two",
            split=split,
        ),
    ]
    seen, failed, trainer = packed(corpus, settings, pack)
    assert failed == {}
    for trial in pack:
        alone = ProxyTrainer(corpus, settings)
        assert_alike(seen[trial.id], run(alone, trial))
        counts = trainer.runs[trial.id]
        assert counts.model_copy(update={"seconds": 0}) == alone.last_run.model_copy(
            update={"seconds": 0}
        )


def test_a_trial_that_diverges_fails_alone(corpus, settings, monkeypatch):
    """One of them is made to diverge: its embedding is so large that nothing is finite."""
    first, second = trials()[:2]
    initialise = Proxy._initialise

    def broken(self, generator):
        initialise(self, generator)
        if generator.initial_seed() == second.seed:
            with torch.no_grad():
                self.embedding.fill_(float("inf"))

    monkeypatch.setattr(Proxy, "_initialise", broken)
    seen, failed, trainer = packed(corpus, settings, [first, second])
    assert set(failed) == {second.id}
    assert "t1 diverged" in failed[second.id].message
    assert set(trainer.runs) == {first.id}
    assert seen[second.id] == []
    assert_alike(seen[first.id], run(ProxyTrainer(corpus, settings), first))


def test_trials_are_packed_by_what_they_must_share(settings):
    own = Schedule.static(MIXTURES[0]).model_copy(
        update={"learning_rate": LearningRate(warmup=0.2)}
    )
    others = [
        make_trial(MIXTURES[0], trial_id="short", tokens=1600),
        make_trial(MIXTURES[0], trial_id="large", parameters=20_000),
        make_trial(own, trial_id="rate"),
        make_trial(MIXTURES[0], trial_id="held out", split="confirmation"),
    ]
    found = packs([*trials(), *others], settings, most=2)
    ids = [[t.id for t in pack] for pack in found]
    assert ids == [["t0", "t1"], ["t2"], ["short"], ["large"], ["rate"], ["held out"]]


def test_trials_that_cannot_be_packed_are_refused(corpus, settings):
    pair = [make_trial(MIXTURES[0], trial_id="a"), make_trial(MIXTURES[0], tokens=64, trial_id="b")]
    with pytest.raises(
        TrialError, match="one size, one split and the same learning rates; got a, b"
    ):
        packed(corpus, settings, pair)
