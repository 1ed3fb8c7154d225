import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import InfeasibleError, SpaceError
from mixopt.space import Mixture, Schedule, SearchSpace, geometry_of
from mixopt.space.domain_tree import outline

NESTED = """\
name: tree
domains:
  web:
    tied: natural
    domains:
      science: {domains: {high: {tokens: 100}, low: {tokens: 300}}}
      news: {domains: {high: {tokens: 200}, low: {tokens: 400}}}
  code:
    max_epochs: 2
    domains:
      python: {tokens: 500}
      cpp: {tokens: 500, max_epochs: 3}
  books: {tokens: 100}
target: {parameters: 1000, tokens: 2000}
phases:
  - bounds: {web: [0.1, 0.6]}
    groups: [{domains: [web, books], max: 0.9}]
"""


def tree(**changes):
    domains = {
        f"s{i}/t{j}/{q}": {"tokens": 100 * (i + 1) * (j + 1) * (1 if q == "high" else 3)}
        for i in range(2)
        for j in range(2)
        for q in ("high", "low")
    }
    return SearchSpace(**{"domains": domains | {"books": {"tokens": 500}}, **changes})


def write(tmp_path, text=NESTED):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_a_nested_file_is_read_as_paths_and_ties(tmp_path):
    space = SearchSpace.from_yaml(write(tmp_path))
    assert space.names == (
        *(f"web/{t}/{q}" for t in ("science", "news") for q in ("high", "low")),
        "code/python",
        "code/cpp",
        "books",
    )
    assert space.ties == {"web": "natural"}
    assert [d.max_epochs for d in space.domains[4:]] == [2, 3, None]
    assert geometry_of(space).free_weights == 4
    again = SearchSpace.from_yaml(write(tmp_path, space.to_yaml()))
    assert again == space
    assert SearchSpace.model_validate_json(space.model_dump_json()) == space


def test_an_error_inside_a_tree_names_its_line(tmp_path):
    path = write(tmp_path, NESTED.replace("cpp: {tokens: 500", "cpp: {tokens: -5"))
    with pytest.raises(SpaceError, match=r"line 12, domains.code/cpp.tokens: .* 0; got -5"):
        SearchSpace.from_yaml(path)
    path = write(tmp_path, NESTED.replace("max_epochs: 2", "tokens: 2"))
    with pytest.raises(SpaceError, match=r"inner node 'code' has the unknown key 'tokens'"):
        SearchSpace.from_yaml(path)


def test_a_flat_space_is_stored_as_before():
    plain = SearchSpace(domains=["a", "b"], baseline="uniform")
    stored = json.loads(plain.model_dump_json())
    assert "ties" not in stored
    assert "ties" not in stored["phases"][0]
    assert geometry_of(plain).free_weights == 2
    assert "tree" not in geometry_of(plain).summary()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(
        [
            {"s0": "natural"},
            {"s*/t*": {"high": 0.25, "low": 0.75}},
            {"s0": {"t0": 0.3, "t1": 0.7}, "s1/t0": "natural"},
            {"s0": {"t0": 0.0, "t1": 1.0}},
            {"s0": "natural", "s1": "natural"},
        ]
    ),
    st.integers(0, 2**31),
)
def test_draws_vertices_and_projections_keep_the_proportions(ties, seed):
    space = tree(
        ties=ties,
        phases=[
            {"name": "base", "bounds": {"s1": [0.1, 0.8]}},
            {"name": "ending", "fraction": [0, 0.2], "ties": {"s1": "natural"}},
        ],
    )
    rng = np.random.default_rng(seed)
    rows = geometry_of(space).sample(12, rng, vertices=0.5)
    for fractions in geometry_of(space).fraction_choices:
        polytope = geometry_of(space).polytope(fractions)
        y = rng.dirichlet(np.ones(polytope.dim), 5) * len(space.phases)
        x = np.vstack([polytope.project(y), polytope.sample_vertices(2, rng)])
        assert polytope.violation(x).max() < 1e-7
        rows = np.vstack([rows, geometry_of(space).rows(fractions, x)])
    for row in rows:
        schedule = geometry_of(space).decode(row)
        assert geometry_of(space).broken(schedule, 1e-7) == []
        assert 0.1 - 1e-6 <= sum(schedule.base[n] for n in space.leaves("s1")) <= 0.8 + 1e-6
        _keeps(schedule.base, space, ties)


def _keeps(mixture, space, ties):
    if ties.get("s0") == "natural":
        inside = space.leaves("s0")
        supply = {n: space.supply[n] for n in inside}
        for n in inside:
            share = supply[n] / sum(supply.values())
            assert mixture[n] == pytest.approx(share * sum(mixture[k] for k in inside), abs=1e-8)
    if "s*/t*" in ties:
        for node in ("s0/t0", "s0/t1", "s1/t0", "s1/t1"):
            assert mixture[f"{node}/low"] == pytest.approx(3 * mixture[f"{node}/high"], abs=1e-8)


def test_specks_of_tied_domains_go_together():
    geometry = geometry_of(tree(ties={"s0": "natural"}))
    supply = geometry.space.supply
    part = np.array([supply[n] for n in geometry.space.leaves("s0")], dtype=float)
    weights = np.zeros((2, 9))
    # Each is under 1e-4 but their sum is not: zeroing some would break the proportions.
    weights[0, :4] = 1.5e-4 * part / part.sum()
    weights[1, :4] = 0.5e-4 * part / part.sum()
    weights[:, 8] = 1 - weights[:, :4].sum(1)
    kept, dropped = map(geometry.decode, geometry.without_specks(weights))
    assert kept.base["s0/t0/high"] > 0
    assert dropped.base == Mixture({"books": 1.0})


@pytest.mark.parametrize(
    ("ties", "match"),
    [
        ({"s9": "natural"}, r"a tie names the unknown node 's9'"),
        ({"s0": {"t0": 0.4, "t1": 0.5}}, r"tie of 's0' must be at least 0 and sum to 1.* 0.9"),
        ({"s0": {"t0": 1.0}}, r"must give every domain inside it to one part; \['s0/t1/high'"),
        ({"s0": {"t0": 0.5, "t7": 0.5}}, r"tie of 's0' names \['t7'\], which are not inside it"),
        (
            {"s0": "natural", "s0/t0": {"high": 0.9, "low": 0.1}},
            r"ties of \['s0', 's0/t0'\] contradict each other: together they leave \['s0/t0/high'",
        ),
    ],
)
def test_a_wrong_tie_is_refused(ties, match):
    with pytest.raises(SpaceError, match=match):
        tree(ties=ties)


def test_natural_proportions_need_tokens():
    with pytest.raises(SpaceError, match=r"natural proportions under 'a' need .*\['a/y'\] have"):
        SearchSpace(
            domains={"a/x": {"tokens": 5}, "a/y": {}}, baseline="uniform", ties={"a": "natural"}
        )


def test_a_tie_that_clashes_with_a_bound_is_named():
    space = tree(ties={"s0/t0": "natural"}, phases=[{"bounds": {"s0/t0/high": [0.3, 1]}}])
    with pytest.raises(
        InfeasibleError,
        match=r"bound s0/t0/high >= 0.3 .*tie s0/t0/high = 0.25 of s0/t0 in phase 'base' clash",
    ):
        _ = geometry_of(space).fraction_choices


def test_a_tie_is_among_the_domains_a_phase_may_use():
    space = tree(ties={"s0": "natural"}, phases=[{"domains": ["s0/t0", "books"]}])
    row = geometry_of(space).sample(1, np.random.default_rng(0))[0]
    base = geometry_of(space).decode(row).base
    assert base["s0/t0/low"] == pytest.approx(3 * base["s0/t0/high"])
    assert base["s0/t1/low"] == 0


def test_the_summary_sums_over_the_tree():
    space = tree(ties={"s0": "natural"})
    rows = {row["node"]: row for row in geometry_of(space).summary()["tree"]}
    assert list(rows)[:4] == ["s0", "s0/t0", "s0/t0/high", "s0/t0/low"]
    assert rows["s0"]["tied"] == "natural"
    natural = space.natural
    assert rows["s0/t1"]["weight"] == pytest.approx(natural["s0/t1/high"] + natural["s0/t1/low"])
    assert outline(("b/x", "a", "b/y")) == ("b", "b/x", "b/y", "a")
    assert outline(("hub/a", "b")) == ("hub/a", "b")


def test_a_fixed_mixture_may_break_a_tie():
    fixed = {"s0/t0/high": 1.0}
    space = tree(
        ties={"s0": "natural"},
        phases=[{"name": "base", "fixed": fixed}, {"name": "ending", "fraction": [0.2]}],
    )
    row = geometry_of(space).sample(1, np.random.default_rng(0))[0]
    schedule = geometry_of(space).decode(row)
    assert schedule.base == Mixture(fixed)
    assert geometry_of(space).broken(schedule) == []
    broken = Schedule.two_phase(fixed, fixed, 0.2)
    assert any("tie s0" in label for label, _ in geometry_of(space).broken(broken))


def test_the_example_of_the_documentation_is_a_space(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "howto" / "domains.md").read_text()
    example = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "tied" in b)
    space = SearchSpace.from_yaml(write(tmp_path, example))
    assert geometry_of(space).free_weights == 3
    assert space.ties == {"web": "natural", "code": {"python": 0.6, "cpp": 0.4}}
    assert len(geometry_of(space).fraction_choices) == 1
