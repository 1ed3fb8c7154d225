"""Good documents, and a way to say what is changed in them: ``{"phases/1/fraction": 2}``."""

import copy
import re

from hypothesis import HealthCheck, settings

SPACE = {
    "name": "s",
    "domains": {"web": {"tokens": 900}, "code": {"tokens": 300}},
    "phases": [{"name": "base"}, {"name": "ending", "fraction": [0, 0.2]}],
    "target": {"parameters": 1000, "tokens": 1000},
}
STUDY = {
    "name": "tiny",
    "space": SPACE,
    "objective": {"weights": {"web": 0.5, "code": 0.5}},
    "fidelity": {"parameters": 1000, "tokens": 1000},
    "trainer": {"kind": "command", "command": "true {schedule} {out}"},
    "budget": {"trials": 10},
}
CORPUS = {
    "name": "c",
    "context": 8,
    "tokenizer": {"train": {"vocab_size": 300}},
    "split": {"validation": 0.2, "confirmation": 0.2},
    "domains": {"a": {"sources": [{"glob": "a*.txt"}]}, "b": {"sources": [{"glob": "b*.txt"}]}},
}
GONE = object()
#: A few examples, always the same ones.
ANYHOW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# Words of validators, which no author of a file has written.
FOREIGN = re.compile(
    r"valid |constrained|discriminator|union|pydantic|Input |input should|instance of|<class|"
    r"\btuple\b|\bdict\b|\bint\b|\bfloat\b|NoneType|schema in the doc|\\w|\[A-Z|Traceback"
)


def changed(document, place, value):
    """A copy with one value replaced, added or left out."""
    new = copy.deepcopy(document)
    *above, last = [int(p) if p.isdigit() else p for p in place.split("/")]
    node = new
    for part in above:
        node = node[part]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return new
