from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixopt.errors import CorpusError, TrialError
from mixopt.proxy import ProxyTrainer, architecture
from mixopt.proxy.evaluate import evaluation_windows
from mixopt.space import LearningRate, Schedule

from .conftest import VOCAB, make_trial, run

UP = {"up": 1.0}
EVEN = {"up": 0.5, "down": 0.5}


def test_a_domain_trained_on_is_learned_and_others_are_not(corpus, settings):
    seen = run(ProxyTrainer(corpus, settings), make_trial(UP, tokens=9600))
    last = {metric: value for tokens, metric, value in seen if tokens == 9600}
    assert last["up"] < 0.6 * math.log(VOCAB)
    assert last["down"] > last["up"] + 0.5
    assert last["odd"] > last["up"] + 0.5


def test_each_rung_is_reported_once_for_every_domain(corpus, settings):
    seen = run(ProxyTrainer(corpus, settings), make_trial(EVEN, tokens=3200))
    # 200 sequences of 16 are 50 steps of 4.
    assert [(t, m) for t, m, _ in seen] == [
        (tokens, name) for tokens in (25 * 64, 50 * 64) for name in ("up", "down", "odd")
    ]


def test_a_short_last_batch_makes_the_tokens_exact(corpus, settings):
    trainer = ProxyTrainer(corpus, settings)
    seen = run(trainer, make_trial(EVEN, tokens=3200 - 16))
    assert max(tokens for tokens, _, _ in seen) == 3184
    assert trainer.last_run.tokens_trained == 3184


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(corpus, settings):
    trainer = ProxyTrainer(corpus, settings)
    first = run(trainer, make_trial(EVEN, seed=3))
    torch.manual_seed(99)
    assert run(ProxyTrainer(corpus, settings), make_trial(EVEN, seed=3)) == first
    other = run(trainer, make_trial(EVEN, seed=4))
    assert all(a[2] != b[2] for a, b in zip(first, other, strict=True))


def test_the_global_random_state_and_the_thread_count_are_left_alone(corpus, settings):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = torch.get_rng_state()
        run(ProxyTrainer(corpus, settings), make_trial(EVEN, tokens=640))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_split_is_the_one_asked_for(corpus, settings):
    trainer = ProxyTrainer(corpus, settings)
    seen = []
    trainer.run(make_trial(EVEN, split="confirmation"), seen.extend)
    own = [o.value for o in seen if o.split == "confirmation"]
    other = [v for _, _, v in run(trainer, make_trial(EVEN))]
    assert len(own) == len(other)
    assert own != other


def test_the_summary_counts_tokens_parameters_and_epochs(corpus, settings):
    trainer = ProxyTrainer(corpus, settings)
    run(trainer, make_trial({"up": 0.75, "down": 0.25}))
    summary = trainer.last_run
    assert summary.tokens_trained == 3200
    assert summary.tokens_reused == 0
    assert summary.parameters == architecture(3000).parameters
    windows = (6000 - 1) // 16
    assert summary.epochs == pytest.approx({"up": 150 / windows, "down": 50 / windows, "odd": 0})


def test_a_rate_that_diverges_fails_the_trial_with_its_reason(corpus, settings):
    hot = Schedule.static(EVEN, LearningRate(peak=1e12))
    with pytest.raises(TrialError, match=r"diverged after [\d,]+ tokens at a learning rate of"):
        run(ProxyTrainer(corpus, settings), make_trial(hot))


def test_a_loss_that_is_not_a_number_fails_the_trial(corpus, settings):
    hot = Schedule.static(EVEN, LearningRate(peak=1e38))
    with pytest.raises(TrialError, match="must be finite"):
        run(ProxyTrainer(corpus, settings), make_trial(hot))


def test_a_domain_the_corpus_lacks_is_named(corpus, settings):
    with pytest.raises(CorpusError, match="corpus lacks: sideways"):
        run(ProxyTrainer(corpus, settings), make_trial({"up": 0.5, "sideways": 0.5}))


def test_held_out_text_shorter_than_a_window_is_named():
    with pytest.raises(TrialError, match="held-out text of 'up' must hold at least 17 tokens; it"):
        evaluation_windows(np.arange(16), 16, 64, "up")


def test_held_out_windows_spread_over_the_split_and_keep_the_cap():
    windows = evaluation_windows(np.arange(1000), 16, 64 + 15, "up")
    assert windows.tolist() == [list(range(s, s + 17)) for s in (0, 240, 496, 736)]
    everything = evaluation_windows(np.arange(1000), 16, 10**6, "up")
    assert everything[:, 0].tolist() == list(range(0, 62 * 16, 16))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(corpus, settings):
    cuda = settings.model_copy(update={"device": "cuda"})
    with pytest.raises(TrialError, match="'cuda' was asked for and there is none"):
        run(ProxyTrainer(corpus, cuda), make_trial(UP))


def test_bfloat16_learns_as_float32_does(corpus, settings):
    rough = settings.model_copy(update={"dtype": "bfloat16"})
    gaps = []
    for seed in range(4):
        exact, low = (
            [value for _, _, value in run(ProxyTrainer(corpus, s), make_trial(EVEN, seed=seed))]
            for s in (settings, rough)
        )
        assert exact != low
        gaps += [a - b for a, b in zip(low, exact, strict=True)]
    # One run of so small a model may end a tenth of a nat apart, either way.
    assert max(map(abs, gaps)) < 0.5
    assert abs(sum(gaps) / len(gaps)) < 0.1


def test_a_confirmation_run_is_measured_on_the_searchs_text_too(corpus, settings):
    rows = []
    trial = make_trial({"up": 1.0}, split="confirmation")
    ProxyTrainer(corpus, settings).run(trial, rows.extend)
    own = {(o.tokens, o.metric) for o in rows if o.split == "confirmation"}
    other = {o.metric: o.value for o in rows if o.split == "validation"}
    assert {o.tokens for o in rows if o.split == "validation"} == {3200}
    # The run itself is that of a trial of the search with this seed.
    search = []
    ProxyTrainer(corpus, settings).run(make_trial({"up": 1.0}), search.extend)
    assert own == {(o.tokens, o.metric) for o in search}
    assert other == {o.metric: o.value for o in search if o.tokens == 3200}
