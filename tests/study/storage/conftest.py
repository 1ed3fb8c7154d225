import pytest
from databases import empty_database, lasting, postgres, postgres_url
from stored import trial

from mixopt.space import Kind
from mixopt.study.storage import Storage, clock

__all__ = ["lasting", "postgres", "postgres_url"]


@pytest.fixture
def another_postgres_url(postgres):
    """URL of a second empty database."""
    return empty_database(postgres)


class Backend:
    """One database that can be opened again and again."""

    def __init__(self, url, opened):
        self.url = url
        self._open = opened
        self._memory = opened(None) if url is None else None

    def open(self, **how):
        return self._memory or self._open(self.url, **how)


@pytest.fixture
def opened():
    """Open a storage that is closed when the test ends."""
    stores = []

    def open_it(storage, **how):
        stores.append(Storage(storage, **how))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def backend(request, tmp_path, opened):
    """Every kind of database in turn."""
    if request.param == "postgres":
        return Backend(request.getfixturevalue("postgres_url"), opened)
    return Backend(tmp_path / "contract.db" if request.param == "sqlite" else None, opened)


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
