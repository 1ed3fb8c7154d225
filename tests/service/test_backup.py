"""A storage that is copied while it is served, and served again from the copy."""

import sqlite3
import subprocess

import pytest
from databases import empty_database
from postgres_server import programs
from served import STUDY

from mixopt.service.client import Service
from mixopt.study import State, Storage
from mixopt.study.storage.access_tokens import Scope, create_token, valid_token


def sqlite_copy(url, path):
    """What ``sqlite3 studies.db ".backup copy.db"`` does."""
    source, copy = sqlite3.connect(url.removeprefix("sqlite:///")), sqlite3.connect(path)
    source.backup(copy)
    source.close()
    copy.close()
    return f"sqlite:///{path}"


def postgres_copy(url, path, server):
    """What ``pg_dump -Fc`` and ``pg_restore`` do."""
    # Those of the server itself: an older pg_dump refuses a newer server.
    dump, restore = (programs() / name for name in ("pg_dump", "pg_restore"))
    if not (dump.exists() and restore.exists()):
        pytest.skip("pg_dump and pg_restore are not installed beside the server")
    restored = empty_database(server)
    once = [dump, "--format=custom", f"--file={path}", plain(url)]
    subprocess.run(once, check=True, capture_output=True)
    again = [restore, "--exit-on-error", f"--dbname={plain(restored)}", path]
    subprocess.run(again, check=True, capture_output=True)
    return restored


def plain(url):
    return url.replace("postgresql+psycopg://", "postgresql://")


def test_a_copy_of_a_served_storage_goes_on_where_it_was_made(lasting, serve, tmp_path, request):
    http = serve(lasting)
    store = Storage(lasting)
    study = Service(http).create(STUDY)
    first, second, *_ = study.ask(3)
    study.tell(first.id, {"loss": 2.5})
    secret = create_token(store, "ann", Scope.admin)
    http.headers["Authorization"] = f"Bearer {secret}"
    if lasting.startswith("sqlite"):
        copy = sqlite_copy(lasting, tmp_path / "copy.db")
    else:
        copy = postgres_copy(lasting, tmp_path / "copy.dump", request.getfixturevalue("postgres"))
    # What is told after the copy is not in it.
    study.tell(second.id, {"loss": 2.0})
    store.close()

    again = serve(copy)
    assert again.get("/v1/studies").status_code == 401
    again.headers["Authorization"] = f"Bearer {secret}"
    restored = Service(again).study("demo")
    assert restored.config == study.config
    states = {r.trial.id: (r.state, value) for r, value in restored.trials()}
    assert states[first.id] == (State.finished, 2.5)
    assert states[second.id] == (State.running, None)
    # Numbers of new rows go on too.
    other = Storage(copy)
    assert valid_token(other, create_token(other, "bob", Scope.read)).name == "bob"
    other.close()
    assert len(restored.ask()) == 3
