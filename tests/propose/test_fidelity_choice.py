"""Where to run what: information per cost, a dear share, and what is left to spend."""

from types import SimpleNamespace

import numpy as np
import pytest

from mixopt.errors import StudyError
from mixopt.propose import choose_fidelities
from mixopt.space import Fidelity, Mixture, Objective, Schedule, SearchSpace

CHEAP, MIDDLE, DEAR = (Fidelity(parameters=n, tokens=10**9) for n in (10**6, 4 * 10**6, 16 * 10**6))
SPACE = SearchSpace(domains=("web", "code"), baseline="uniform")
OBJECTIVE = Objective(weights={"loss": 1.0})
SCHEDULES = [Schedule.static(Mixture({"web": w, "code": 1 - w})) for w in (0.2, 0.4, 0.6, 0.8, 0.9)]


class Stub:
    """Loss is least for most web; a cheap run tells ``share`` of what the dear one tells."""

    metrics = ("loss",)

    def __init__(self, share):
        self.share = share

    def predict(self, X):
        return SimpleNamespace(mean=1 - X[:, :1], sd=np.ones((len(X), 1)))

    def information(self, X, fidelities, against, weights):
        np.testing.assert_allclose(against, [0.5, 0.5])
        np.testing.assert_allclose(weights, [1.0])
        told = {CHEAP: self.share, MIDDLE: self.share, DEAR: 1.0}
        return np.tile([told[f] for f in fidelities], (len(X), 1))


def choose(share=0.8, schedules=SCHEDULES, fidelities=(DEAR, CHEAP), **more):
    return choose_fidelities(SPACE, OBJECTIVE, Stub(share), schedules, fidelities, **more)


def test_cheap_where_fidelities_agree_and_the_best_at_the_dear_one():
    assert choose() == [CHEAP, CHEAP, CHEAP, DEAR, DEAR]


def test_dear_where_they_do_not():
    assert choose(share=0.05) == [DEAR] * 5


def test_no_share_still_buys_one():
    found = choose_fidelities(SPACE, OBJECTIVE, Stub(0.8), SCHEDULES, (CHEAP, DEAR), share=0.0)
    assert found == [CHEAP] * 4 + [DEAR]


def test_another_cost_changes_the_choice():
    alike = choose(cost=lambda _schedule, _fidelity: 1.0)
    assert alike == [DEAR] * 5


def test_what_is_left_is_never_exceeded():
    for left in np.array([0.5, 1, 3, 17, 19, 21, 36, 80]) * CHEAP.flops:
        found = choose(fidelities=(CHEAP, MIDDLE, DEAR), left=float(left))
        assert sum(f.flops for f in found) <= left * (1 + 1e-9)
        assert (len(found) == 0) == (left < CHEAP.flops)
    # The dear share steps down to the highest that can be paid for.
    found = choose(fidelities=(CHEAP, MIDDLE, DEAR), left=11 * CHEAP.flops)
    assert found == [CHEAP, CHEAP, CHEAP, MIDDLE, MIDDLE]


def test_nothing_to_place_and_wrong_arguments():
    assert choose(schedules=[]) == []
    with pytest.raises(StudyError, match="needs at least one fidelity"):
        choose(fidelities=())
    with pytest.raises(StudyError, match=r"must lie between 0 and 1; got 1\.5"):
        choose_fidelities(SPACE, OBJECTIVE, Stub(0.8), SCHEDULES, (CHEAP,), share=1.5)
