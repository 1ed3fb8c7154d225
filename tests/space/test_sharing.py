import pytest

from mixopt.space import LearningRate, Phase, Schedule
from mixopt.space.sharing import checkpoints, common_prefix, share_to_train

A, B, C = {"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}, {"a": 0.1, "b": 0.9}


def ended(fraction, ending=B, base=A, rule=None, last=None, run=None):
    phases = (
        Phase(name="base", fraction=1 - fraction, mixture=base, learning_rate=rule),
        Phase(name="ending", fraction=fraction, mixture=ending, learning_rate=last),
    )
    return Schedule(phases=phases, learning_rate=run)


def test_endings_share_their_trunk_until_the_first_of_them_leaves_it():
    assert common_prefix(ended(0.2), ended(0.3, C)) == pytest.approx(0.7)
    assert common_prefix(ended(0.2), Schedule.static(A)) == pytest.approx(0.8)
    assert common_prefix(ended(0.2), ended(0.2, base=C)) == 0
    assert common_prefix(ended(0.2), ended(0.2)) == 1


def test_rates_must_be_shared_too():
    high, low = LearningRate(peak=2e-3), LearningRate(peak=1e-3)
    assert common_prefix(ended(0.2, run=high), ended(0.2, run=low)) == 0
    assert common_prefix(ended(0.2, last=high), ended(0.2, last=low)) == pytest.approx(0.8)
    # A constant rate is the same however long it is held; one that decays over its phase is not.
    assert common_prefix(ended(0.2, rule=high), ended(0.3, rule=high)) == pytest.approx(0.7)
    falling = LearningRate(peak=2e-3, decay=0.5)
    assert common_prefix(ended(0.2, rule=falling), ended(0.3, rule=falling)) == 0
    assert common_prefix(ended(0.2, rule=falling), ended(0.2, C, rule=falling)) == pytest.approx(
        0.8
    )


def test_a_trunk_helps_only_where_it_left_a_checkpoint():
    assert checkpoints(ended(0.2), (0.9, 1.0)) == pytest.approx([0.8, 0.9])
    assert share_to_train(ended(0.1), [ended(0.2, C)]) == pytest.approx(0.2)
    assert share_to_train(ended(0.3), [ended(0.2, C)]) == 1
    assert share_to_train(ended(0.3), [ended(0.2, C)], (0.7,)) == pytest.approx(0.3)
    assert share_to_train(ended(0.1), [Schedule.static(A)]) == 1
    assert share_to_train(ended(0.1), [Schedule.static(A)], (0.9,)) == pytest.approx(0.1)
    assert share_to_train(ended(0.2), []) == 1
