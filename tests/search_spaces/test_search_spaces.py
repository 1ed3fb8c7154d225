"""The search spaces that come with mixopt."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import SpaceError
from mixopt.space import SearchSpace, geometry_of
from mixopt.space.library import find_search_space, list_search_spaces

SPACES = {name: SearchSpace.from_yaml(find_search_space(name)) for name in list_search_spaces()}


def test_the_promised_spaces_are_there():
    assert set(SPACES) >= {
        "local",
        "redpajama-7",
        "pile-17",
        "slimpajama-7",
        "domain-upsampling-4",
        "pile-python-continual",
    }


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_whole(name):
    space = SPACES[name]
    assert space.name == name
    assert space.source
    assert all(d.source for d in space.domains if d.tokens is not None)
    assert space.target is not None
    assert SearchSpace.model_validate(space.model_dump()) == space


@pytest.mark.parametrize("name", SPACES)
def test_its_baseline_and_samples_lie_inside(name):
    space = SPACES[name]
    assert geometry_of(space).broken(space.baseline_schedule) == []
    for row in geometry_of(space).sample(8, np.random.default_rng(0), vertices=0.5):
        assert geometry_of(space).broken(geometry_of(space).decode(row), tolerance=1e-3) == []


def test_redpajama_sums_to_the_published_total():
    assert sum(SPACES["redpajama-7"].supply.values()) == 1_210_000_000_000


def test_slimpajama_sums_to_the_published_total():
    assert sum(SPACES["slimpajama-7"].supply.values()) == 627_000_000_000


def test_domain_upsampling_has_the_published_weights():
    baseline = SPACES["domain-upsampling-4"].baseline_schedule
    assert baseline.upsample_fraction == pytest.approx(0.2)
    assert baseline.base["code"] == pytest.approx(0.2178)
    assert dict(baseline.ending) == pytest.approx(
        {"large_common_crawl": 0, "small_common_crawl": 0.3, "domain_data": 0.35, "code": 0.35}
    )


def test_pile_names_are_those_of_regmix():
    root = Path(os.environ.get("MIXOPT_DATA", Path(__file__).parents[3] / "shared" / "data"))
    table = root / "regmix" / "train_mixture_1m.csv"
    if not table.exists():
        pytest.skip(f"the RegMix tables are not at {root}")
    with table.open() as stream:
        columns = next(csv.reader(stream))[1:]
    prefix = "train_the_pile_"
    assert {c.removeprefix(prefix) for c in columns} == set(SPACES["pile-17"].names)


def test_an_unknown_space_is_refused():
    with pytest.raises(SpaceError, match=r"named 'pile17' comes(?s:.)*did you mean 'pile-17'"):
        find_search_space("pile17")
    with pytest.raises(SpaceError, match="give one of these, or a path"):
        find_search_space("zzz")
    assert find_search_space("pile-17.yaml") == find_search_space("pile-17")
