import pickle

import numpy as np
import pytest

from mixopt.errors import InfeasibleError
from mixopt.space import LearningRate, PhaseSpace, Polytope, Schedule, SearchSpace, geometry_of
from mixopt.space.geometry.polytope import Constraint, ConstraintKind


def make(**changes):
    settings = {
        "domains": {"web": {"tokens": 900}, "code": {"tokens": 100}},
        "phases": [{"name": "base"}, {"name": "ending", "fraction": 0.2}],
        "target": {"parameters": 10, "tokens": 1000},
        "max_epochs": 2,
        "r_star": 15.0,
        "learning_rate": {"peak": 1e-3, "decay": 0.5},
    }
    return SearchSpace(**{**settings, **changes})


def highest_exposure(space, name="code"):
    geometry = geometry_of(space)
    rows = geometry.sample(200, np.random.default_rng(0), vertices=1.0)
    return max(geometry.decode(row).exposure()[name] for row in rows)


def copies(space):
    """Changed copies, by all the ways a value is changed."""
    web, code = space.domains
    more = (web, code.model_copy(update={"tokens": 10_000}))
    yield space.model_copy(update={"domains": more})
    yield space.model_copy(update={"domains": more}, deep=True)
    yield SearchSpace(
        **{name: getattr(space, name) for name in type(space).model_fields} | {"domains": more}
    )


def test_a_copy_with_other_tokens_has_its_own_limits():
    space = make()
    assert 0.19 < highest_exposure(space) <= 0.2 + 1e-9
    for wider in copies(space):
        assert wider.epoch_limits()["code"] == 20
        assert highest_exposure(wider) > 0.95
        everything = Schedule.static({"web": 0.0, "code": 1.0}, wider.usual_rule)
        assert geometry_of(wider).broken(everything) == []
        assert geometry_of(space).broken(everything) != []
        assert geometry_of(wider).layout.repetition.available == (900.0, 10_000.0)
    assert geometry_of(space).layout.repetition.available == (900.0, 100.0)
    assert 0.19 < highest_exposure(space) <= 0.2 + 1e-9


def test_a_copy_with_other_bounds_or_rules_has_its_own_rows_and_clock():
    space = make(max_epochs=None)
    before = geometry_of(space).layout
    bounded = PhaseSpace(name="ending", fraction=0.4, bounds={"web": (0.3, 0.6)})
    changed = space.model_copy(update={"phases": (space.phases[0], bounded)})
    geometry = geometry_of(changed)
    assert geometry.fraction_choices == ((0.6, 0.4),)
    W, _ = geometry.layout.split(geometry.sample(50, np.random.default_rng(0), vertices=0.5))
    assert (W[:, 1, 0] >= 0.3 - 1e-9).all()
    assert (W[:, 1, 0] <= 0.6 + 1e-9).all()
    constant = space.model_copy(update={"learning_rate": LearningRate(peak=1e-3)})
    assert geometry_of(constant).layout.clock is None
    assert geometry_of(space).layout == before
    assert before.clock is not None


def test_a_space_keeps_nothing_that_follows_from_it():
    space = make()
    highest_exposure(space)
    geometry_of(space).summary()
    assert set(vars(space)) == set(SearchSpace.model_fields)


def test_equal_spaces_share_one_geometry_and_different_ones_do_not():
    assert geometry_of(make()) is geometry_of(
        SearchSpace.model_validate_json(make().model_dump_json())
    )
    assert geometry_of(make()) is not geometry_of(make(r_star=14.0))
    # Infinity and nothing are written alike.
    assert geometry_of(make(max_epochs=float("inf"))).space.max_epochs == float("inf")
    assert geometry_of(make(max_epochs=None)).space.max_epochs is None


def test_a_geometry_crosses_a_process_boundary_as_its_space():
    geometry = geometry_of(make())
    size = len(pickle.dumps(geometry))
    highest_exposure(geometry.space)
    assert len(pickle.dumps(geometry)) == size
    assert pickle.loads(pickle.dumps(geometry)) is geometry


def test_a_clash_names_what_a_user_can_mend_whatever_it_is_called():
    one = np.array([1.0, 0.0])
    rows = [
        Constraint(-one, 0.0, "named as one likes", ConstraintKind.sign),
        Constraint(one, -0.25, "weight of web at most less than nothing"),
    ]
    amount, labels = Polytope.of(rows, [], 2).clash()
    assert amount == pytest.approx(0.25)
    assert labels == ("weight of web at most less than nothing",)
    with pytest.raises(InfeasibleError, match="weight of web at most less than nothing clash by"):
        Polytope.of(rows, [], 2).require_feasible("a test")
