"""A service in this process, over every kind of database, and a client of it."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from databases import lasting, postgres, postgres_url
from served import STUDY, run_all
from starlette.testclient import TestClient

from mixopt.service.application import create_app
from mixopt.service.client import Service
from mixopt.service.fits import close_studies
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import Scope, create_token
from mixopt.study.storage.whole import copy_study

__all__ = ["lasting", "postgres", "postgres_url"]


@pytest.fixture(scope="session")
def fits():
    """Where fits are made: a thread, which needs no second import of the library."""
    with ThreadPoolExecutor(1) as executor:
        yield executor
    close_studies()


@pytest.fixture
def serve(fits):
    """Start a service on a database; it ends with the test."""
    running = []

    def start(url, **how):
        app = create_app(url, executor=how.pop("executor", fits), **how)
        running.append(TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False))
        return running[-1].__enter__()

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def listening(fits):
    """Start a service on a port of this host, for those who come over the network."""
    running = []

    def start(url):
        taken = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(url, executor=fits), log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        running.append((server, thread, taken))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"

    yield start
    for server, thread, taken in running:
        server.should_exit = True
        thread.join()
        taken.close()


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path / 'service.db'}"


@pytest.fixture
def http(serve, file_url):
    """A service on loopback that has no token."""
    return serve(file_url)


@pytest.fixture
def tokens(file_url):
    """A token of each scope, and one for another study."""
    store = Storage(file_url)
    made = {scope: create_token(store, scope, scope) for scope in Scope}
    made["other"] = create_token(store, "other", Scope.admin, study="other")
    store.close()
    return {name: {"Authorization": f"Bearer {secret}"} for name, secret in made.items()}


@pytest.fixture
def study(http):
    """A served study."""
    return Service(http).create(STUDY)


@pytest.fixture(scope="session")
def finished_url(tmp_path_factory, fits):
    """A storage with a study that was served to its end."""
    url = f"sqlite:///{tmp_path_factory.mktemp('finished') / 'service.db'}"
    app = create_app(url, executor=fits)
    with TestClient(app, base_url="http://127.0.0.1") as http:
        run_all(Service(http).create(STUDY))
    return url


@pytest.fixture
def finished(http, file_url, finished_url):
    """A served study at its end, a copy that the test may change."""
    source, target = Storage(finished_url), Storage(file_url)
    copy_study(source, "demo", target)
    source.close()
    target.close()
    return Service(http).study("demo")
