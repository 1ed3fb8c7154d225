"""A corpus' tokens in an object store that others have filled."""

import numpy as np
import pytest
import ray
from small_study import make, space

from mixopt.corpus import CorpusSpec, build_corpus
from mixopt.proxy import ProxySettings, ProxyTrainer
from mixopt.space import Fidelity, SearchSpace
from mixopt.study import State, TrialBudget
from mixopt.tune import run_rounds
from mixopt.tune.session import ray_session
from mixopt.tune.stored_tokens import store_tokens

__all__ = ["make", "space"]

MIB = 2**20
# The least that Ray takes.
STORE = 80 * MIB


@pytest.fixture
def corpus(tmp_path):
    """Two domains of letters."""
    for domain, letters in {"up": "abcdefgh", "down": "zyxwvuts"}.items():
        (tmp_path / domain).mkdir()
        for i in range(40):
            text = " ".join(letters[j:] + str(i * j) for j in range(8))
            (tmp_path / domain / f"{i}.txt").write_text(text * 4)
    plain = {
        "name": "letters",
        "root": tmp_path,
        "context": 16,
        "tokenizer": {"train": {"vocab_size": 300}},
        "domains": {d: {"sources": [{"glob": f"{d}/*.txt"}]} for d in ("up", "down")},
    }
    return build_corpus(CorpusSpec.model_validate(plain), tmp_path / "corpus")


@pytest.mark.faults
def test_a_full_object_store_does_not_stop_a_study(corpus, make, tmp_path, monkeypatch):
    start = ray.init
    monkeypatch.setattr(
        ray, "init", lambda **given: start(num_cpus=2, object_store_memory=STORE, **given)
    )
    trainer = ProxyTrainer(corpus, ProxySettings(context=16, batch=4))
    study = make(
        space=SearchSpace(domains=("up", "down"), baseline="uniform"),
        objective={"up": 0.5, "down": 0.5},
        fidelity=Fidelity(parameters=3000, tokens=1600),
        budget=TrialBudget(trials=6),
        confirm_seeds=0,
    )
    with ray_session("local"):
        # Kept by this process, so that room can be made on the disk only.
        held = [ray.put(np.full(8 * MIB, k, np.uint8)) for k in range(12)]
        assert store_tokens(trainer) is not None
        run_rounds(study, trainer, out=tmp_path / "out", confirm=False)
        assert [int(ray.get(kept)[0]) for kept in held] == list(range(12))
    assert [(r.state, r.reason) for r in study.records()] == [(State.finished, "")] * 6
