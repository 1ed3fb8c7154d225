"""The OpenAPI document is complete and true: generated requests meet no answer it does not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import STUDY

from mixopt.service.client import Service
from mixopt.service.guards import Limits

TRUE = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture
def api(serve, file_url):
    """The document of a service that holds a study with a trial in flight."""
    http = serve(file_url, limits=Limits(hosts=None, rate=1e6, burst=1e6))
    Service(http).create(STUDY).ask(1)
    return schemathesis.openapi.from_asgi("/openapi.json", http.app)


few = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def test_every_answer_is_documented(api):
    for found in api.get_all_operations():

        @few
        @given(case=found.ok().as_strategy())
        def answers(case):
            case.call_and_validate(checks=TRUE)

        answers()


def test_every_route_of_the_programming_interface_is_in_the_document(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/studies", "/v1/studies/{name}/trials:ask", "/healthz", "/metrics"} <= set(paths)
    for path, routes in paths.items():
        for verb, operation in routes.items():
            assert operation["description"], (verb, path)
            assert "4XX" in operation["responses"], (verb, path)
