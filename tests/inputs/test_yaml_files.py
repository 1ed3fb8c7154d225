"""Mistakes in the three YAML files: a sentence with place and value, and what to write."""

import re

import pytest
import yaml
from documents import CORPUS, GONE, SPACE, STUDY, changed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.corpus import CorpusSpec
from mixopt.errors import MixoptError
from mixopt.space import SearchSpace
from mixopt.tune.study_file import StudyFile

FILES = {"space": (SearchSpace, SPACE), "study": (StudyFile, STUDY), "corpus": (CorpusSpec, CORPUS)}
# Words of validators, which no author of a file has written.
FOREIGN = re.compile(
    r"valid |constrained|discriminator|union|pydantic|Input |input should|instance of|<class|"
    r"\btuple\b|\bdict\b|\bint\b|\bfloat\b|NoneType|schema in the doc|\\w|\[A-Z|Traceback"
)
NUMBERS = ["x", "-1", [1], {"a": 1}, True, -1, None]
COUNTS = [*NUMBERS[:-1], 0, 1.5]


def cases():
    """File, place, value, and what the error must say."""
    for place in ("domains/web/tokens", "target/tokens", "target/parameters"):
        for value in COUNTS:
            yield "space", place, value, place.split("/")[-1]
    for place in ("max_epochs", "r_star"):
        for value in ["x", [1], {"a": 1}, True, -1, 0]:
            yield "space", place, value, place
    for value in [
        "x",
        1.5,
        -0.1,
        True,
        [0.1, 3],
        [0.1, "x"],
        {"min": 0.1},
        {"a": 1},
        {"min": 0.4, "max": 0.1},
        {"min": 0, "max": 2},
        {"min": 0, "max": 1, "step": 0},
    ]:
        yield "space", "phases/1/fraction", value, "phases.ending"
    for value in [
        "natral",
        5,
        [1],
        True,
        {"web": 0.4},
        {"web": 1, "books": 0},
        {"web": "x"},
        {"web": True},
        {},
        {"phases": []},
        {"phases": 5},
        {"phases": [{"mixture": 5}]},
    ]:
        yield "space", "baseline", value, "baseline"
    for value in [
        5,
        "x",
        {"web": 0.5},
        {"web": [0.5]},
        {"web": [0.9, 0.1]},
        {"web": [-1, 0.5]},
        {"web": ["a", 0.5]},
        {"books": [0, 0.5]},
        {"web": [0, 0.5, 1]},
        [1],
    ]:
        yield "space", "phases/0/bounds", value, "bounds"
    for value in [
        5,
        "x",
        [5],
        [{}],
        [{"domains": ["web"], "min": 0.5, "max": 0.1}],
        [{"domains": ["books"]}],
        [{"domains": []}],
        [{"domains": ["web"], "max": 3}],
        [{"domains": ["web"], "least": 3}],
    ]:
        yield "space", "phases/0/groups", value, "group"
    for value in [
        5,
        "x",
        {"peak": 0},
        {"peek": 1},
        {"peak": "x"},
        {"warmup": 2},
        {"decay": -1},
        {"shape": "round"},
        {"warmup": 0.7, "decay": 0.7},
        {"peak": {"min": 1e-3}},
        {"peak": {"min": 1e-2, "max": 1e-3}},
        {"peak": [1e-2, 1e-3]},
        {"peak": True},
    ]:
        yield "space", "learning_rate", value, ""
    for value in [
        5,
        "x",
        [],
        ["web"],
        ["web", "web"],
        [{"nam": "a"}, {"name": "b"}],
        {},
        None,
        {"web": 5, "code": {}},
        {"web": {"token": 4}, "code": {}},
        {"": {}, "b": {}},
        {"web": {"domains": {}}, "b": {}},
        {"web": {"domains": {"a": {}}, "x": 1}},
    ]:
        yield "space", "domains", value, ""
    for value in [
        5,
        "x",
        [],
        [5],
        [{"name": "base"}, {"name": "base"}],
        [{"nam": "base"}],
        [{"name": 5}],
        [{"name": "a"}, {"name": "b", "tied": "c"}],
        [{"fixed": {"web": 0.4}}],
        [{"fixed": 5}],
        [{"domains": ["books"]}],
        [{"domains": 5}],
        None,
    ]:
        yield "space", "phases", value, "phase"
    for value in [5, "x", {"web": "nat"}, {"books": "natural"}, {"web": {"a": 2}}]:
        yield "space", "ties", value, ""
    for value in ["x", 5, {"tokens": 5}, {"parameters": 5}, {"parameters": 5, "tokens": 5, "x": 1}]:
        yield "space", "target", value, "target"
    for key in ("name", "space", "objective", "fidelity", "budget"):
        yield "study", key, GONE, key
        for value in (5, [1], None, True):
            yield "study", key, value, ""
    for value in ["a b", "", "-x", "a/b", ".x", "ä"]:
        yield "study", "name", value, "name"
    for place in (
        "initial",
        "batch",
        "patience",
        "retries",
        "confirm_seeds",
        "most_failures",
        "seed_blocks",
        "seed",
        "sequence_length",
        "replicates",
    ):
        for value in ("x", -1, 1.5, True, [1], {"a": 1}):
            yield "study", place, value, place
    for value in [
        5,
        "x",
        {},
        {"trial": 5},
        {"trials": 0},
        {"trials": "x"},
        {"tokens": -1},
        {"trials": True},
        {"flops": "much"},
        {"rounds": 1.5},
        [1],
    ]:
        yield "study", "budget", value, "budget"
    for value in [
        5,
        "x",
        {},
        {"kind": "proxi"},
        {"kind": "command"},
        {"command": "x"},
        {"kind": "command", "command": ""},
        {"kind": "command", "command": 5},
        {"kind": "command", "command": "x", "timeout": -1},
        {"kind": "command", "command": "x", "timeout": True},
        {"kind": "callable", "target": "train"},
        {"kind": "callable"},
        {"kind": "callable", "target": "a:b:c"},
        {"kind": 5},
        {"kind": "proxy"},
    ]:
        yield "study", "trainer", value, ""
    for value in [
        5,
        "x",
        {},
        {"weights": {}},
        {"weights": {"web": 0.4}},
        {"weights": {"web": "x"}},
        {"weights": {"web": True}},
        {"weights": {"web": -1, "code": 2}},
        {"weight": {}},
        {"weights": {"web": 1}, "guardrails": [{}]},
        {"weights": {"web": 1}, "guardrails": [{"metric": "web", "slack": -1}]},
        {"weights": {"web": 1}, "guardrails": [{"metric": "web", "confidence": 1}]},
        {"weights": {"web": 1}, "guardrails": [{"metric": "web", "bound": "x"}]},
        {"weights": {"web": 1}, "guardrails": 5},
    ]:
        yield "study", "objective", value, "objective"
    for value in [["megatrn"], ["schedule", "x"], 5, [5], "schedule", [True]]:
        yield "study", "exports", value, "exports"
    for value in [{"cpu": -1}, {"cpu": "x"}, {"cpu": True}, 5, [1], "cpu"]:
        yield "study", "resources_per_trial", value, "resources_per_trial"
    for value in ["here", "host:", 5, ":1", "a b:1"]:
        yield "study", "address", value, "address"
    for value in ["many", 5, {"trials": 5}, [5], [{"tokens": 5}]]:
        yield "study", "fidelities", value, "fidelit"
    for key in ("spaces", "Name", "objectives", "trainers", "budgets", "export", "seeds"):
        yield "study", key, 5, f"unknown key '{key}'"
    for place in ("context", "seed", "max_document_bytes"):
        for value in ("x", 1.5, True, [1], {"a": 1}):
            yield "corpus", place, value, place
    for value in [
        5,
        "x",
        {},
        {"path": "a", "train": {}},
        {"train": {"vocab_size": 5}},
        {"train": {"vocab": 500}},
        {"path": 5},
        {"train": {"bytes_per_domain": 0}},
    ]:
        yield "corpus", "tokenizer", value, ""
    for value in [
        5,
        {"validation": 0},
        {"validation": 2},
        {"validation": 0.5, "confirmation": 0.6},
        {"valid": 0.1},
        {"validation": "x"},
        {"max_validation_tokens": 0},
    ]:
        yield "corpus", "split", value, ""
    for value in [5, {"threshold": 0}, {"num_perm": 1}, {"ngram": 0}, {"treshold": 0.5}]:
        yield "corpus", "near_duplicates", value, ""
    for value in [
        5,
        "x",
        {},
        {"a": 5},
        {"a": {}},
        {"a": {"sources": []}},
        {"a": {"sources": 5}},
        {"a": {"sources": [5]}},
        {"a": {"sources": [{}]}},
        {"../a": {"sources": []}},
        {"a": {"sources": [{"globs": "x"}]}},
        {"a": {"sources": [{"glob": 5}]}},
        {"a": {"sources": [{"glob": "x", "jsonl": "y"}]}},
        {"a": {"sources": [{"installed": "novels"}]}},
        {"a": {"sources": [{"glob": "x", "packages": ["a"]}]}},
        {"a": {"sources": [{"glob": "x", "group_field": "a"}]}},
        {"a": {"sources": [{"glob": "x"}], "max_tokens": 0}},
        {"a": {"sources": [{"glob": "x"}]}, "A": {"sources": [{"glob": "x"}]}},
        {"a": {"sources": [{"glob": "x"}]}, "a/b": {"sources": [{"glob": "x"}]}},
    ]:
        yield "corpus", "domains", value, ""


CASES = list(cases())


def test_the_table_is_long():
    assert len(CASES) >= 300


def shown(value):
    """A case's part in its name, the same in every process."""
    return "gone" if value is GONE else str(value)[:40].replace("\n", " ")


@pytest.mark.parametrize(("file", "place", "value", "says"), CASES, ids=shown)
def test_a_mistake_is_told_in_plain_words(tmp_path, file, place, value, says):
    model, good = FILES[file]
    path = tmp_path / "f.yaml"
    path.write_text(yaml.safe_dump(changed(good, place, value), sort_keys=False))
    with pytest.raises(MixoptError) as caught:
        model.from_yaml(path)
    error = caught.value
    assert str(path) in error.message
    assert says in error.message
    assert not FOREIGN.search(str(error).replace(str(path), "")), str(error)
    assert error.hint, error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("file", FILES)
def test_the_good_documents_are_good(tmp_path, file):
    model, good = FILES[file]
    path = tmp_path / "f.yaml"
    path.write_text(yaml.safe_dump(good, sort_keys=False))
    model.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold keys and values at its top; got nothing"),
        ("5", "at its top; got 5"),
        ("- a", "at its top"),
        ("a: [", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("\ta: 1", "is not YAML"),
        ("a: *b", "is not YAML"),
        ("a: &x\n  b: *x", "refers to itself"),
        ("a: &x [*x]", "refers to itself"),
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("a: 2024-13-45", "is not YAML"),
        ("a: .nan", "line 1: a number must be finite; got .nan"),
        ("a: -.inf", "must be finite"),
        ("a: " + "[" * 1200, "nested too deeply"),
        ("a: !!python/object:os.system x", "is not YAML"),
        ("? [a]\n: 1", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
    ids=lambda v: repr(v)[:30],
)
@pytest.mark.parametrize("file", FILES)
def test_what_is_no_document_is_told(tmp_path, file, text, says):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(MixoptError, match=re.escape(says)) as caught:
        FILES[file][0].from_yaml(path)
    assert caught.value.hint


def test_bytes_and_folders_are_told(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    for wrong in (path, tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(MixoptError, match="cannot be read"):
            SearchSpace.from_yaml(wrong)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e9", 10**9),
        ("800B", 8 * 10**11),
        ("1.5M", 1_500_000),
        ("2_000", 2000),
        ("1.1T", 1.1e12),
        ("3k", 3000),
        ("1.0e+3", 1000),
    ],
)
def test_numbers_are_read_as_people_write_them(tmp_path, written, read):
    path = tmp_path / "f.yaml"
    text = yaml.safe_dump(SPACE, sort_keys=False).replace("tokens: 900", f"tokens: {written}")
    path.write_text(text)
    assert SearchSpace.from_yaml(path).domains[0].tokens == read


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2)
keys = st.sampled_from(["name", "domains", "phases", "fraction", "tokens", "min", "kind"])
anything = st.recursive(
    scalars | st.text("ab/:*&", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def plainly_told(error, path):
    return error.hint and not FOREIGN.search(error.message.replace(str(path), ""))


@pytest.mark.parametrize("file", FILES)
def test_any_value_anywhere_is_read_or_told(tmp_path, file):
    model, good = FILES[file]
    path = tmp_path / "f.yaml"

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(good)), anything)
    def try_it(key, value):
        path.write_text(yaml.safe_dump({**good, key: value}))
        try:
            model.from_yaml(path)
        except MixoptError as error:
            told = error
        else:
            return
        assert plainly_told(told, path), told.message

    try_it()


@pytest.mark.parametrize("file", FILES)
def test_any_text_is_read_or_told(tmp_path, file):
    path = tmp_path / "f.yaml"

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text("ab: \n-[]{}&*!?'\"#|>%@`,.0_", max_size=30))
    def try_it(text):
        path.write_text(text)
        with pytest.raises(MixoptError):
            FILES[file][0].from_yaml(path)

    try_it()
