"""A server that goes away for a while."""

import logging
import threading

import psycopg
import pytest
from stored import trial

from mixopt.errors import StorageError


@pytest.fixture
def store(postgres_url, opened):
    found = opened(postgres_url, patience=60.0)
    found.create_study("demo", "{}", "digest", "{}")
    return found


@pytest.fixture
def door(postgres, store):
    """Shuts and opens the store's database."""
    name = store.address.database

    def move(is_open):
        with psycopg.connect(postgres, autocommit=True) as c:
            c.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}")
            if not is_open:
                c.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )

    yield move
    move(True)


def test_a_server_that_comes_back_is_waited_for(store, door, caplog):
    door(False)
    heard = threading.Event()

    class Opener(logging.Handler):
        def emit(self, _record):
            heard.set()

    def back():
        assert heard.wait(60)
        door(True)

    logging.getLogger("mixopt.storage").addHandler(handler := Opener())
    opener = threading.Thread(target=back)
    opener.start()
    try:
        assert store.add_trials(1, [trial("t0")])
    finally:
        opener.join()
        logging.getLogger("mixopt.storage").removeHandler(handler)
    assert [r.trial.id for r in store.trials(1)] == ["t0"]
    [said] = [r.getMessage() for r in caplog.records if r.name == "mixopt.storage"]
    assert "is away" in said
    assert "hush" not in said


def test_a_server_that_stays_away_is_named(store, door, opened):
    hasty = opened(store.address, patience=0.0)
    door(False)
    with pytest.raises(StorageError, match=r"the storage postgresql.*not currently accepting"):
        hasty.trials(1)
