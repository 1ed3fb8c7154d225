import numpy as np
import pytest
from standin import Landscape, make_space

from mixopt.errors import StudyError
from mixopt.propose import initial_design, remap
from mixopt.space import Schedule, geometry_of


def seen_in(space):
    return Landscape(space).evidence([space.baseline_schedule, *initial_design(space, 6, seed=0)])


@pytest.mark.parametrize("phases", [1, 2])
def test_added_and_split_domains_keep_every_trial(phases):
    old, new = make_space(2, phases, epochs=50), make_space(4, phases, epochs=50, order="dcba")
    evidence = seen_in(old)
    got = remap(evidence, old, new, split={"b": {"b": 0.25, "d": 0.75}})
    assert got.ids == evidence.ids
    for before, after in zip(evidence.X, got.X, strict=True):
        one, two = (
            geometry_of(old).decode(before).exposure(),
            geometry_of(new).decode(after).exposure(),
        )
        assert two["a"] == pytest.approx(one["a"], abs=2e-4)
        assert two["d"] == pytest.approx(0.75 * one["b"], abs=2e-4)
        assert two["c"] == 0


def test_trials_of_a_removed_domain_are_left_out():
    old, new = make_space(3, 1, epochs=50), make_space(2, 1, epochs=50)
    rows = [{"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.5, "b": 0.2, "c": 0.3}]
    evidence = Landscape(old).evidence([Schedule.static(r) for r in rows])
    got = remap(evidence, old, new)
    assert got.ids == ("t0",)
    assert np.allclose(got.X, [[0.5, 0.5]])


def test_errors_say_what_is_missing():
    old, new = make_space(3, 1), make_space(2, 1)
    evidence = Landscape(old).evidence([old.baseline_schedule])
    with pytest.raises(StudyError, match=r"used a domain that the new space has not: \['c'\]"):
        remap(evidence, old, new)
    with pytest.raises(StudyError, match=r"a split must lead .* \['zz'\] are neither"):
        remap(evidence, old, new, split={"c": {"zz": 1.0}})
    with pytest.raises(StudyError, match="evidence keeps its phases; got 1 and 2"):
        remap(evidence, old, make_space(3, 2))
