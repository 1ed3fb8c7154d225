from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mixopt.proxy import ProxySettings
from mixopt.space import Fidelity, Schedule, Trial

VOCAB = 32


class SyntheticCorpus:
    """Markov text: each domain has its own successor for each token, followed 9 times in 10."""

    def __init__(self, domains=("up", "down", "odd"), length=6000, vocab=VOCAB, seed=0):
        self.domains = tuple(domains)
        self.vocab_size = vocab
        self._tokens = {}
        for place, name in enumerate(self.domains):
            rng = np.random.default_rng([seed, place])
            successor = rng.permutation(vocab)
            for split in ("train", "validation", "confirmation"):
                self._tokens[name, split] = self._text(rng, successor, length)
        joined = b"".join(ids.tobytes() for ids in self._tokens.values())
        self.fingerprint = hashlib.sha256(joined).hexdigest()

    def _text(self, rng, successor, length):
        ids = rng.integers(0, self.vocab_size, length)
        follow = rng.random(length) < 0.9
        for i in range(1, length):
            if follow[i]:
                ids[i] = successor[ids[i - 1]]
        return ids.astype(np.uint16)

    def tokens(self, domain, split):
        return self._tokens[domain, split]


@pytest.fixture(scope="session")
def corpus():
    return SyntheticCorpus()


@pytest.fixture
def settings():
    return ProxySettings(context=16, batch=4, evaluation_tokens=256)


def make_trial(schedule, tokens=3200, parameters=3000, seed=0, trial_id="t", split="validation"):
    if not isinstance(schedule, Schedule):
        schedule = Schedule.static(schedule)
    return Trial(
        id=trial_id,
        schedule=schedule,
        fidelity=Fidelity(parameters=parameters, tokens=tokens),
        seed=seed,
        split=split,
    )


def run(trainer, trial):
    """All observations of a trial as (tokens, metric, value)."""
    seen = []
    trainer.run(trial, seen.extend)
    return [(o.tokens, o.metric, o.value) for o in seen]
