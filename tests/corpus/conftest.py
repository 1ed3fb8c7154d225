"""Small texts that differ from one another, and a spec over them."""

import random

import pytest

from mixopt.corpus import CorpusSpec


def prose(seed, words=150):
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(words))


@pytest.fixture
def folder(tmp_path):
    """Two domains of twelve text files each."""
    for domain, first in (("letters", 0), ("notes", 100)):
        (tmp_path / "in" / domain).mkdir(parents=True)
        for i in range(12):
            (tmp_path / "in" / domain / f"{i:02}.txt").write_text(prose(first + i))
    return tmp_path / "in"


@pytest.fixture
def make_spec(folder):
    def make(**changes):
        settings = {
            "name": "small",
            "context": 16,
            "root": folder,
            "tokenizer": {"train": {"vocab_size": 300}},
            "split": {"validation": 0.15, "confirmation": 0.15},
            "domains": {
                "letters": {"sources": [{"glob": "letters/*.txt"}]},
                "notes": {"sources": [{"glob": "notes/**/*.txt"}]},
            },
        }
        return CorpusSpec.model_validate({**settings, **changes})

    return make
