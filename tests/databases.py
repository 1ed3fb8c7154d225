"""Fixtures: every kind of database that outlives its process."""

import uuid

import postgres_server
import psycopg
import pytest


@pytest.fixture(scope="session")
def postgres():
    """URL of a running server."""
    if not postgres_server.install():
        pytest.skip("PostgreSQL is not installed, and apt-get cannot install it here")
    with postgres_server.server() as url:
        yield url


def empty_database(server):
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres", f"/{name}")


@pytest.fixture
def postgres_url(postgres):
    """URL of an empty database."""
    return empty_database(postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def lasting(request, tmp_path):
    """Where a study is kept, on every kind of database that outlives its process."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'lasting.db'}"
