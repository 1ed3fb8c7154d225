import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixopt.errors import InfeasibleError, SpaceError
from mixopt.space import GroupBound, Schedule, SearchSpace, geometry_of


def two_phase(**changes):
    settings = {
        "domains": {"web": {"tokens": 900}, "code": {"tokens": 300}, "math": {"tokens": 20}},
        "phases": [
            {"name": "base", "bounds": {"web": [0.2, 0.9]}},
            {
                "name": "ending",
                "fraction": [0, 0.1, 0.3],
                "groups": [{"domains": ["web"], "min": 0.25}],
            },
        ],
        "target": {"parameters": 10, "tokens": 1000},
        "max_epochs": 4,
    }
    return SearchSpace(**{**settings, **changes})


@st.composite
def spaces(draw):
    d = draw(st.integers(2, 7))
    names = [f"d{i}" for i in range(d)]
    tokens = draw(st.lists(st.integers(50, 2000), min_size=d, max_size=d))
    high = draw(st.lists(st.floats(0.5, 1), min_size=d, max_size=d))
    least = draw(st.floats(0, 0.4))
    cap = draw(st.floats(1.2, 6))
    # The first phase's bounds must leave room for a whole mixture under the epoch caps.
    room = sum(min(h, cap * t / sum(tokens)) for h, t in zip(high, tokens, strict=True))
    assume(room > 1.01)
    return SearchSpace(
        domains=[{"name": n, "tokens": t} for n, t in zip(names, tokens, strict=True)],
        phases=[
            {"name": "base", "bounds": {n: (0, h) for n, h in zip(names, high, strict=True)}},
            {
                "name": "ending",
                "fraction": {"min": 0, "max": 0.3, "step": 0.15},
                "groups": [{"domains": names[:2], "min": least}],
            },
        ],
        target={"parameters": 1, "tokens": sum(tokens)},
        max_epochs=cap,
    )


@settings(max_examples=25, deadline=None)
@given(spaces(), st.integers(0, 2**31))
def test_every_draw_meets_every_limit_and_sums_to_one(space, seed):
    rows = geometry_of(space).sample(24, np.random.default_rng(seed), vertices=0.4)
    W, F = geometry_of(space).layout.split(rows)
    assert np.allclose(W.sum(-1), 1)
    assert np.allclose(F.sum(-1), 1)
    for row in rows:
        schedule = geometry_of(space).decode(row)
        assert geometry_of(space).broken(schedule, 1e-6) == []
        for name, share in schedule.exposure().items():
            assert share <= space.epoch_limits().get(name, 1) + 1e-6


@settings(max_examples=25, deadline=None)
@given(spaces(), st.integers(0, 2**31))
def test_projection_is_inside_and_nearer_than_any_draw(space, seed):
    rng = np.random.default_rng(seed)
    fractions = geometry_of(space).fraction_choices[-1]
    polytope = geometry_of(space).polytope(fractions)
    far = rng.normal(size=(4, polytope.dim))
    near = polytope.project(far, iterations=4000)
    assert polytope.violation(near).max() < 1e-8
    others = polytope.sample(50, rng)
    gap = np.linalg.norm(far - near, axis=1)
    assert np.all(gap[:, None] <= np.linalg.norm(far[:, None] - others[None], axis=2) + 1e-4)


@settings(max_examples=20, deadline=None)
@given(spaces(), st.integers(0, 2**31))
def test_a_schedule_survives_encoding(space, seed):
    row = geometry_of(space).sample(1, np.random.default_rng(seed))[0]
    schedule = geometry_of(space).decode(row)
    again = geometry_of(space).decode(geometry_of(space).encode(schedule))
    for name, weight in schedule.exposure().items():
        assert again.exposure()[name] == pytest.approx(weight, abs=1e-9)


def test_uniform_draws_have_the_simplex_mean_and_spread():
    space = SearchSpace(domains=["a", "b", "c", "d"], baseline="uniform")
    weights = geometry_of(space).sample(4000, np.random.default_rng(0))
    # Dirichlet(1, 1, 1, 1): mean 1/4, variance 3/80.
    assert weights.mean(0) == pytest.approx(np.full(4, 0.25), abs=0.015)
    assert weights.var(0) == pytest.approx(np.full(4, 3 / 80), rel=0.1)


def test_clashing_caps_are_named_with_the_amount():
    space = SearchSpace(
        domains={"a": {"tokens": 10}, "b": {"tokens": 20}},
        target={"parameters": 1, "tokens": 100},
        max_epochs=2,
    )
    with pytest.raises(InfeasibleError, match=r"epoch cap a <= 0.2.*epoch cap b <= 0.4.*by 0.4"):
        _ = geometry_of(space).fraction_choices


def test_a_group_that_clashes_with_a_bound_is_named_and_the_rest_is_not():
    space = SearchSpace(
        domains=["a", "b", "c"],
        baseline="uniform",
        phases=[
            {
                "bounds": {"a": [0, 0.1], "b": [0, 0.1], "c": [0, 0.95]},
                "groups": [{"name": "good", "domains": ["a", "b"], "min": 0.3}],
            }
        ],
    )
    with pytest.raises(InfeasibleError, match=r"group good >= 0\.3") as caught:
        _ = geometry_of(space).fraction_choices
    assert "bound a <= 0.1" in caught.value.message
    assert "c <= 0.95" not in caught.value.message
    assert "clash by 0.1 of weight" in caught.value.message


def test_fractions_without_room_are_left_out():
    ending = {"name": "ending", "fraction": [0, 0.1, 0.9], "fixed": {"web": 0.1, "math": 0.9}}
    space = two_phase(phases=[{"name": "base"}, ending])
    # 0.9 * 0.9 of 1000 tokens would be 40 epochs of the 20 math tokens.
    assert geometry_of(space).fraction_choices == ((1.0, 0.0),)


def test_fixed_and_tied_phases_and_absent_domains_hold():
    space = SearchSpace(
        domains=["a", "b", "c"],
        baseline="uniform",
        phases=[
            {"name": "one", "domains": ["a", "b"]},
            {"name": "two", "fraction": 0.3, "tied": "one"},
            {"name": "three", "fraction": 0.2, "fixed": {"c": 0.5, "a": 0.5}},
        ],
    )
    W, F = geometry_of(space).layout.split(geometry_of(space).sample(20, np.random.default_rng(0)))
    assert np.allclose(F, [0.5, 0.3, 0.2])
    assert np.allclose(W[:, 0], W[:, 1])
    assert np.allclose(W[:, 0, 2], 0)
    assert np.allclose(W[:, 2], [0.5, 0, 0.5])
    assert np.ptp(W[:, 0, 0]) > 0.5


def test_a_phase_of_no_length_copies_the_one_before():
    space = two_phase()
    row = geometry_of(space).encode(Schedule.static({"web": 0.5, "code": 0.46, "math": 0.04}))
    W, F = geometry_of(space).layout.split(row)
    assert F.tolist() == [1, 0]
    assert np.array_equal(W[0], W[1])
    assert len(geometry_of(space).decode(row).phases) == 1


def test_a_space_survives_yaml(tmp_path):
    space = two_phase(baseline={"web": 0.6, "code": 0.36, "math": 0.04})
    path = tmp_path / "space.yaml"
    path.write_text(space.to_yaml())
    assert SearchSpace.from_yaml(path) == space


YAML = """name: x
domains:
  web: {tokens: 900}
  code: {tokens: 300}
baseline: {web: 0.5, code: 0.5}
phases:
  - name: base
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "tokens: 900",
            "tokens: -9",
            r"s.yaml, line 3, domains.web.tokens: .*greater than 0; got -9",
        ),
        ("baseline:", "basline:", r"s.yaml, line 5, basline: unknown key 'basline'\n.*'baseline'"),
        ("code: 0.5", "code: 0.4", r"s.yaml, line 5, baseline: the weights .* they sum to 0.9"),
        (
            "code: 0.5",
            "cod: 0.5",
            r"s.yaml, line 1: the baseline names the unknown domains \['cod'\]",
        ),
        ("name: base", "nam: base", r"s.yaml, line 7, phases\[0\].nam: unknown key 'nam'"),
        ("web: {", "code: {", r"line 4: the key 'code' stands twice"),
        ("name: x", "name: [x", r"s.yaml is not YAML"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path, old, new, text):
    path = tmp_path / "s.yaml"
    path.write_text(YAML.replace(old, new, 1))
    with pytest.raises(SpaceError, match=text):
        SearchSpace.from_yaml(path)


def test_the_natural_mixture_needs_every_token_count():
    with pytest.raises(SpaceError, match=r"needs the tokens of every domain; \['b'\] have none"):
        SearchSpace(domains={"a": {"tokens": 5}, "b": {}})


def test_an_epoch_cap_needs_a_target():
    with pytest.raises(SpaceError, match="epoch cap needs the target's tokens"):
        SearchSpace(domains={"a": {"tokens": 5}, "b": {"tokens": 5}}, max_epochs=4)


def test_phases_equal_but_for_the_last_bits_decode_to_the_same_bits():
    base = {"web": 0.18, "code": 0.78, "math": 0.04}
    phases = [
        {"name": "base", "fixed": base},
        {"name": "ending", "fraction": [0.1, 0.2, 0.3]},
    ]
    space = SearchSpace(domains=("web", "code", "math"), phases=phases, baseline="uniform")
    rng = np.random.default_rng(0)
    for row in geometry_of(space).sample(30, rng):
        noisy = row * (1 + 4e-16 * rng.standard_normal(len(row)))
        schedule = geometry_of(space).decode(noisy)
        assert [w.hex() for w in schedule.base.values()] == [w.hex() for w in base.values()]
        # Reading a schedule back and writing it again changes nothing.
        assert geometry_of(space).decode(geometry_of(space).encode(schedule)) == schedule
        assert sum(schedule.ending.values()) == pytest.approx(1, abs=1e-14)


def test_what_is_wrong_inside_names_its_place_in_the_whole():
    with pytest.raises(SpaceError, match=r"^SearchSpace, domains\.b\.tokens: .* 0; got -5"):
        SearchSpace(domains={"a": {"tokens": 5}, "b": {"tokens": -5}})
    group = {"domains": ["a"], "min": 0.5, "max": 0.2}
    with pytest.raises(
        SpaceError, match=r"^SearchSpace, phases\[0\]\.groups\[0\]: a group's min must"
    ):
        SearchSpace(domains=["a", "b"], baseline="uniform", phases=[{"groups": [group]}])
    with pytest.raises(SpaceError, match=r"^a group's min must not exceed its max"):
        GroupBound(**group)
    with pytest.raises(SpaceError, match=r"^GroupBound, least: unknown key 'least'"):
        GroupBound(domains=["a"], least=0.1)
