"""The fixed part of the logits: every domain counts alike, whatever its size."""

import numpy as np
import pytest
import torch

from mixopt.proxy import ProxyTrainer
from mixopt.proxy.unigram import MOST, unigram_bias

from .conftest import make_trial, run


def test_each_text_counts_alike_and_missing_tokens_are_finite():
    long, short = np.repeat([0, 1], [3000, 1000]), np.array([1, 1, 2])
    bias = unigram_bias([long, short], 4)
    assert torch.isfinite(bias).all()
    assert bias.exp().sum().item() == pytest.approx(1)
    expected = np.mean(
        [[3001 / 4004, 1001 / 4004, 1 / 4004, 1 / 4004], [1 / 7, 3 / 7, 2 / 7, 1 / 7]], 0
    )
    np.testing.assert_allclose(bias.exp().numpy(), expected, rtol=1e-5)


def test_a_long_text_is_sampled_from_all_over():
    ids = np.repeat(np.arange(8, dtype=np.uint16), MOST // 4)
    np.testing.assert_allclose(unigram_bias([ids], 8).exp().numpy(), 1 / 8, rtol=0.02)


def test_the_bias_is_that_of_the_corpus_and_comes_back_with_a_trunk(corpus, settings, tmp_path):
    schedule = {"up": 1.0}
    settings = settings.model_copy(update={"branch_points": (0.5,)})
    run(ProxyTrainer(corpus, settings, tmp_path), make_trial(schedule))
    (path,) = tmp_path.glob("*.pt")
    stored = torch.load(path, weights_only=True)["model"]["bias"]
    everything = [corpus.tokens(name, "train") for name in corpus.domains]
    assert torch.equal(stored, unigram_bias(everything, corpus.vocab_size))
