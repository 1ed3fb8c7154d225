"""What a worker sends of the trials it was given; no Ray is started."""

import json

import numpy as np

from mixopt.proxy import ProxySettings, ProxyTrainer
from mixopt.space import Fidelity, Mixture, Schedule, Trial
from mixopt.study import CallableTrainer
from mixopt.tune.mixture_search import PACK, config_of, trials_of
from mixopt.tune.trainable import ENDS, ROWS, _Attempt


class Letters:
    """Two domains of random tokens."""

    domains, vocab_size, fingerprint = ("up", "down"), 32, "letters"

    def tokens(self, domain, split):
        seed = [self.domains.index(domain), ("train", "validation", "confirmation").index(split)]
        return np.random.default_rng(seed).integers(0, 32, 3000).astype(np.uint16)


def trial(name, seed, up):
    schedule = Schedule.static(Mixture({"up": up, "down": 1 - up}))
    size = Fidelity(parameters=3000, tokens=1600)
    return Trial(id=name, schedule=schedule, fidelity=size, seed=seed)


def test_one_worker_reports_every_trial_of_its_pack(tmp_path):
    first, second = trial("a", 1, 0.3), trial("b", 2, 0.6)
    given = trials_of({**config_of(first), PACK: [config_of(second)]})
    assert given == [first, second]
    trainer = ProxyTrainer(Letters(), ProxySettings(context=16, batch=4, evaluation_tokens=256))
    attempt = _Attempt(trainer, given, tmp_path)
    rows, result = [], {}
    while not result.get("done"):
        result = attempt.next_result()
        rows += json.loads(result[ROWS])
    found = {(row["trial"], row["metric"]) for row in rows if row["tokens"] == 1600}
    assert found == {(t, d) for t in "ab" for d in ("up", "down")}
    ends = json.loads(result[ENDS])
    assert [ends[name][0] for name in "ab"] == ["", ""]
    assert [ends[name][1]["trained"] for name in "ab"] == [1600, 1600]


def test_a_pack_that_cannot_be_trained_fails_as_a_whole(tmp_path):
    other = trial("b", 2, 0.6).model_copy(update={"fidelity": Fidelity(parameters=1, tokens=1)})
    trainer = ProxyTrainer(Letters(), ProxySettings(context=16, batch=4))
    result = _Attempt(trainer, [trial("a", 1, 0.3), other], tmp_path).next_result()
    reasons = {name: reason for name, (reason, _) in json.loads(result[ENDS]).items()}
    assert set(reasons) == {"a", "b"}
    assert all("at least one sequence" in reason for reason in reasons.values())


def test_a_trial_that_waits_at_its_rungs_goes_on_or_ends_there(tmp_path):
    steps = []

    def train(_schedule, fidelity, _seed):
        for step in range(1, 5):
            steps.append(step)
            yield {"tokens": step * fidelity.tokens // 4, "up": 2.0, "down": 1.0}

    def attempt():
        return _Attempt(CallableTrainer(train), [trial("a", 1, 0.3)], tmp_path, waits=True)

    ended = attempt()
    rungs = [json.loads(ended.next_result()[ROWS]) for _ in range(2)]
    assert [{row["tokens"] for row in rows} for rows in rungs] == [{400}, {800}]
    ended.end()
    # Nothing was trained after the rung at which it was told to end.
    assert steps == [1, 2]
    whole = attempt()
    results = [whole.next_result() for _ in range(5)]
    assert [bool(r.get("done")) for r in results] == [False] * 4 + [True]
    assert json.loads(results[-1][ENDS])["a"] == ["", None]
    assert steps == [1, 2, 1, 2, 3, 4]
