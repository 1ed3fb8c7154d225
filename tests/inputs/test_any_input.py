"""Every reader, given what nobody foresaw: it succeeds, or it says what is wrong in plain words."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from documents import ANYHOW, CORPUS, FOREIGN, SPACE, STUDY
from hypothesis import given
from hypothesis import strategies as st

from mixopt import Objective, Schedule, SearchSpace, Study
from mixopt.analysis.critical_share import read_runs as read_shares
from mixopt.analysis.fit_arguments import (
    as_weights,
    parse_guardrails,
    parse_kinds,
    parse_rule,
    parse_target,
)
from mixopt.analysis.imported_runs import import_runs
from mixopt.analysis.run_tables import read_mixtures, read_runs
from mixopt.analysis.weight_columns import WeightColumns
from mixopt.cli.export_verbs import _paths, _rule
from mixopt.corpus import CorpusSpec
from mixopt.errors import MixoptError
from mixopt.export import EXPORTERS, as_space, export, exporter_of, read_source
from mixopt.study.transfer import parse_split
from mixopt.tune.new_study import new_study
from mixopt.tune.study_file import StudyFile

TWO = SearchSpace(domains=["web", "code"], baseline="uniform")
COLUMNS = WeightColumns(("web", "code"), ("base",), (("web", "code"),))


def attached(path):
    study = Study("s", TWO, Objective(weights={"loss": 1.0}), storage=None)
    import_runs(study, path, units={"loss": "loss"})


RUNS = "run,web,code,loss\n1,0.5,0.5,2.1\n2,0.25,0.75,2.3\n3,1,0,2.2\n"
LONG = (
    "run,web,code,tokens,metric,value\n1,0.5,0.5,1e9,a,2\n1,0.5,0.5,1e9,b,3\n"
    "2,0.2,0.8,1B,a,2\n2,0.2,0.8,1B,b,2\n"
)

PHASED = "run,base.web,base.code,end.web,end.code,fraction,loss\n1,.5,.5,1,0,0.2,2\n2,1,0,0,1,0,2\n"
LOGGED = "Name,State,web,code,loss\na,finished,0.5,0.5,2\nb,crashed,,,\nc,finished,1,0,2\n"
HAND = {
    "phases": [{"fraction": 0.8, "mixture": {"web": 1}}, {"fraction": 0.2, "mixture": {"a": 1}}]
}
#: A reader of a file, and a text that it can read.
READERS = {
    "space": (SearchSpace.from_yaml, yaml.safe_dump(SPACE)),
    "study": (StudyFile.from_yaml, yaml.safe_dump(STUDY)),
    "corpus": (CorpusSpec.from_yaml, yaml.safe_dump(CORPUS)),
    "schedule by hand": (read_source, yaml.safe_dump(HAND | {"tokens": "1B"})),
    "runs": (read_runs, RUNS),
    "runs, long": (read_runs, LONG),
    "runs, two phases": (read_runs, PHASED),
    "candidates": (lambda path: read_mixtures(path, COLUMNS), RUNS),
    "shares": (read_shares, "share,loss,base\n0.1,2.5,2\n0.5,2.1,2\n"),
    "logged runs": (attached, LOGGED),
    "paths": (lambda path: _paths([str(path)]), "web: /data/web\ncode: /data/code\n"),
}
#: A reader of what stands on the command line, and what it can read.
WORDS = {
    "target": (parse_target, "1B:100B"),
    "rate": (parse_rule, "cosine:horizon=100B,warmup=0.02,final=0.1"),
    "weights": (lambda text: as_weights(text, "--x"), "web=0.5,code=0.5"),
    "kinds": (lambda text: parse_kinds([text]), "gsm8k=accuracy:1319"),
    "guardrails": (lambda text: parse_guardrails([text]), "web>=0.15"),
    "split": (lambda text: parse_split([text]), "web=a:0.3,b:0.7"),
    "learning rate": (_rule, "{peak: 3e-4, warmup: 0.01}"),
    "init": (lambda text: new_study(text, {text: "*", "b": text}, parameters=text), "100k"),
}
NASTY = st.sampled_from(
    [
        *("", ",", ";", ":", "=", "-", "\n", "\r\n", '"', "{", "[", "]", "&a", "*a", "!!set", "#"),
        *("%", "nan", ".inf", "-1", "0", "1e999", "9" * 30, "true", "null", "~", "2024-01-01"),
        *("0x1f", "web", "run", "loss", "tokens", "fraction", "\ufeff", "\x00", "\u2028", "é"),
        *("[[[[", "<<: 1"),
    ]
)


@st.composite
def mangled(draw, text):
    """A text of which some stretches are others."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
        text = text[:at] + draw(NASTY) + text[at + gone :]
    return text


def read_or_told(read, given_, ours=""):
    try:
        read(given_)
    except MixoptError as caught:
        error = caught
    else:
        return
    told = error.message.replace(ours, "") if ours else error.message
    assert error.hint, told
    assert "\n" not in told
    assert not FOREIGN.search(told), told


@pytest.mark.parametrize("name", READERS)
def test_a_mangled_file_is_read_or_told(name, tmp_path):
    read, good = READERS[name]
    path = tmp_path / "f.csv"
    path.write_text(good, encoding="utf-8")
    read(path)

    @ANYHOW
    @given(mangled(good))
    def try_it(text):
        path.write_bytes(text.encode())
        read_or_told(read, path, str(path))

    try_it()


@pytest.mark.parametrize("name", WORDS)
def test_a_mangled_word_is_read_or_told(name):
    read, good = WORDS[name]
    read(good)

    @ANYHOW
    @given(mangled(good) | st.text(max_size=20))
    def try_it(text):
        read_or_told(read, text)

    try_it()


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=3)
    | st.just([])
    | st.just({})
    | st.just([[1]])
    | st.just({"a": {"b": 1}})
)


@st.composite
def bent(draw, document):
    """A document with one node replaced, at any depth."""
    if isinstance(document, (dict, list)) and document and draw(st.integers(0, 3)):
        key = draw(
            st.sampled_from(list(document) if isinstance(document, dict) else range(len(document)))
        )
        copy = document.copy()
        copy[key] = draw(bent(document[key]))
        return copy
    return draw(LEAVES)


def written(to, folder):
    """The files of an exporter for a schedule of two phases."""
    schedule = Schedule.two_phase({"web": 0.7, "code": 0.3}, {"web": 0.2, "code": 0.8}, 0.25)
    paths = {"web": "/d/web", "code": "/d/code"}
    return export(
        schedule, to=to, out=folder, tokens=64_000, sequence_length=8, batch=4, paths=paths
    )


def test_a_bent_schedule_is_read_or_told(tmp_path):
    (path,) = (p for p in written("schedule", tmp_path) if p.name == "schedule.json")
    good = json.loads(path.read_text())

    @ANYHOW
    @given(bent(good))
    def try_it(document):
        path.write_text(json.dumps(document))
        read_or_told(read_source, path, str(path))

    try_it()


@pytest.mark.parametrize("to", [n for n in EXPORTERS if exporter_of(n).read])
def test_a_bent_configuration_of_a_trainer_is_read_or_told(to, tmp_path):
    for path in map(Path, written(to, tmp_path)):
        with suppress(ValueError, yaml.YAMLError):
            bend(to, path, yaml.safe_load(path.read_text()))


def bend(to, path, good):
    @ANYHOW
    @given(bent(good))
    def try_it(document):
        path.write_text(json.dumps(document))
        read_or_told(lambda p: as_space(to, p), path, str(path))

    try_it()
