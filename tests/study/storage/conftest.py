import uuid
from dataclasses import dataclass

import postgres_server
import psycopg
import pytest

from mixopt.space import Fidelity, Kind, Observation, Schedule, Trial
from mixopt.study.storage import Storage, clock


@pytest.fixture(scope="session")
def postgres():
    """URL of a running server."""
    if not postgres_server.install():
        pytest.skip("PostgreSQL is not installed, and apt-get cannot install it here")
    with postgres_server.server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres):
    """URL of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("postgresql://", "postgresql+psycopg://").replace(
        "/postgres", f"/{name}"
    )


@dataclass
class Backend:
    """One database that can be opened again and again."""

    name: str
    url: str | None

    def __post_init__(self):
        self.opened = []

    def open(self, **how):
        if self.url is None and self.opened:
            return self.opened[0]
        self.opened.append(Storage(self.url, **how))
        return self.opened[-1]


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def backend(request, tmp_path):
    """Every kind of database in turn."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = f"sqlite:///{tmp_path / 'contract.db'}" if request.param == "sqlite" else None
    made = Backend(request.param, url)
    yield made
    for store in made.opened:
        store.close()


class Clock:
    """A clock that only moves when told."""

    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self, _connection):
        return self.time


@pytest.fixture
def clock_at(monkeypatch):
    """The storage's clock, in the hands of the test."""
    hand = Clock()
    monkeypatch.setattr(clock, "now", hand)
    return hand


@pytest.fixture
def store(backend):
    return backend.open()


@pytest.fixture
def study(store):
    """The number of a study with four trials of the search and one confirmation run."""
    made = store.create_study("demo", "{}", "digest", "{}")
    kinds = [Kind.initial, Kind.initial, Kind.proposed, Kind.proposed, Kind.confirmation]
    assert store.add_trials(made, [trial(f"t{i}", kind) for i, kind in enumerate(kinds)])
    return made


SIZE = Fidelity(parameters=1000, tokens=1_000_000)


def trial(name, kind=Kind.proposed, **changes):
    schedule = Schedule.static({"web": 0.75, "code": 0.25})
    return Trial(**{"id": name, "kind": kind, "schedule": schedule, "fidelity": SIZE, **changes})


def rung(name, tokens, value, metric="loss", **changes):
    return Observation(trial=name, tokens=tokens, metric=metric, value=value, **changes)
