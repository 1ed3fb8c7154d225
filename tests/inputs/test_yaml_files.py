"""Mistakes in the three YAML files: a sentence with place and value, and what to write."""

import re
from pathlib import Path

import pytest
import yaml
from documents import ANYHOW, CORPUS, FOREIGN, GONE, SPACE, STUDY, changed
from hypothesis import given
from hypothesis import strategies as st

from mixopt.corpus import CorpusSpec
from mixopt.errors import MixoptError
from mixopt.space import SearchSpace
from mixopt.tune.study_file import StudyFile

FILES = {"space": (SearchSpace, SPACE), "study": (StudyFile, STUDY), "corpus": (CorpusSpec, CORPUS)}
MISTAKES = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text())
# File, place, value, and what the error must say.
CASES = [
    (row["file"], place, GONE if value == "GONE" else value, row.get("says", place.split("/")[-1]))
    for row in MISTAKES
    for place in row["at"]
    for value in row["values"]
]


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

    @ANYHOW
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
