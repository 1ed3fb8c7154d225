"""Who is let in, what is refused before any route, and what is written down."""

import json
import sqlite3

import pytest
from served import STUDY, wait_for

from mixopt.cli import main
from mixopt.errors import ConflictError, NotFoundError, StudyError
from mixopt.service.application import create_app
from mixopt.service.guards import Buckets, Limits
from mixopt.service.serve import is_local
from mixopt.service.serve import serve as start_serving
from mixopt.study import Storage
from mixopt.study.storage import audit
from mixopt.study.storage.access_tokens import (
    Scope,
    create_token,
    list_tokens,
    revoke_token,
    valid_token,
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def store(file_url):
    store = Storage(file_url)
    yield store
    store.close()


def test_only_the_digest_of_a_token_is_kept(store, tmp_path):
    secret = create_token(store, "ann", Scope.work)
    found = valid_token(store, secret)
    assert (found.name, found.scope, found.study) == ("ann", Scope.work, None)
    with sqlite3.connect(tmp_path / "service.db") as connection:
        kept = str(connection.execute("SELECT * FROM token").fetchall())
    connection.close()
    assert secret not in kept
    assert secret.removeprefix("mixopt_") not in kept
    assert valid_token(store, secret + "x") is None
    with pytest.raises(ConflictError, match="a token named 'ann' already"):
        create_token(store, "ann", Scope.read)


def test_a_token_ends_when_it_expires_or_is_revoked(store):
    short = create_token(store, "short", Scope.read, seconds=-1)
    assert valid_token(store, short) is None
    secret = create_token(store, "ann", Scope.read, seconds=100)
    assert valid_token(store, secret) is not None
    revoke_token(store, "ann")
    assert valid_token(store, secret) is None
    with pytest.raises(NotFoundError, match="no token named 'bob'"):
        revoke_token(store, "bob")
    assert [t.name for t in list_tokens(store)] == ["short", "ann"]


def test_a_scope_holds_those_before_it():
    allowed = {s: [w for w in Scope if s.allows(w)] for s in Scope}
    assert [len(allowed[s]) for s in (Scope.read, Scope.work, Scope.admin)] == [1, 2, 3]


def test_each_route_needs_its_scope(tokens, http):
    made = http.post("/v1/studies", json=STUDY, headers=tokens["admin"])
    assert made.status_code == 201
    needs = (
        ("GET", "/v1/studies/demo", None, Scope.read),
        ("GET", "/metrics", None, Scope.read),
        ("POST", "/v1/studies/demo/trials:ask", {}, Scope.work),
        ("PATCH", "/v1/studies/demo", {"archived": False}, Scope.admin),
        ("POST", "/v1/studies", STUDY, Scope.admin),
    )
    for method, path, body, wanted in needs:
        for scope in Scope:
            answer = http.request(method, path, json=body, headers=tokens[scope])
            assert (answer.status_code == 403) != scope.allows(wanted), (method, path, scope)
        nobody = http.request(method, path, json=body)
        assert nobody.status_code == 401
        assert nobody.headers["WWW-Authenticate"] == "Bearer"
    assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200


def test_a_token_of_one_study_reaches_no_other(tokens, http):
    assert http.post("/v1/studies", json=STUDY, headers=tokens["other"]).status_code == 403
    other = {**STUDY, "name": "other"}
    for body, who in ((STUDY, "admin"), (other, "other")):
        assert http.post("/v1/studies", json=body, headers=tokens[who]).status_code == 201
    assert http.get("/v1/studies/demo", headers=tokens["other"]).status_code == 403
    assert http.get("/v1/studies/none", headers=tokens["other"]).status_code == 403
    rows = http.get("/v1/studies", headers=tokens["other"]).json()["studies"]
    assert [row["name"] for row in rows] == ["other"]
    assert http.get("/metrics", headers=tokens["other"]).status_code == 403


@pytest.mark.usefixtures("tokens")
def test_wrong_tokens_are_counted(http):
    wrong = {"Authorization": "Bearer mixopt_wrong"}
    codes = [http.get("/v1/studies", headers=wrong).status_code for _ in range(30)]
    assert codes[0] == 401
    assert codes[-1] == 429


def test_writes_are_in_the_audit_log_with_the_write_or_not_at_all(tokens, http, store):
    http.post("/v1/studies", json=STUDY, headers=tokens["admin"])
    found = wait_for_trial(http, tokens["work"])
    path = f"/v1/studies/demo/trials/{found['trial']['id']}:tell"
    refused = {"lease": found["lease"], "values": {"wrong": 1.0}}
    assert http.post(path, json=refused, headers=tokens["work"]).status_code == 409
    told = {"lease": found["lease"], "values": {"loss": 2.0}}
    assert http.post(path, json=told, headers=tokens["work"]).status_code == 200
    assert http.delete("/v1/studies/demo", headers=tokens["admin"]).status_code == 204
    with store.read() as c:
        rows = audit.read(c, 10)
    kept = [(r["who"], r["action"], r["study"], r["trial"]) for r in reversed(rows)]
    assert kept == [
        ("admin", "create", "demo", None),
        ("work", "tell", "demo", "r00-t00"),
        ("admin", "delete", "demo", None),
    ]


def wait_for_trial(http, who):
    while True:
        found = http.post("/v1/studies/demo/trials:ask", json={}, headers=who).json()
        if found["trials"]:
            return found["trials"][0]


def test_pages_of_other_sites_can_write_nothing(http):
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        answer = http.post("/v1/studies", json=STUDY, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1"}):
        assert http.post("/v1/studies", json=STUDY, headers=headers).status_code < 300


def test_a_name_that_is_not_the_servers_is_refused(http):
    answer = http.get("/healthz", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_host")
    for host in ("localhost:8417", "[::1]:8417", "127.0.0.1"):
        assert http.get("/healthz", headers={"Host": host}).status_code == 200


def test_bodies_are_limited_whether_or_not_they_tell_their_length(serve, file_url):
    http = serve(file_url, limits=Limits(body=1000))
    for body in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        answer = http.post("/v1/studies", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_client_that_asks_too_often_is_told_to_wait(serve, file_url):
    http = serve(file_url, limits=Limits(rate=1e-3, burst=3))
    answers = [http.get("/healthz") for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "1"


def test_a_bucket_fills_again(monkeypatch):
    now = 100.0
    monkeypatch.setattr("mixopt.service.guards.time.monotonic", lambda: now)
    buckets = Buckets(rate=1.0, most=2.0)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b")
    now += 1.0
    assert [buckets.take("a") for _ in range(2)] == [True, False]


def test_every_answer_carries_the_headers(http):
    for path in ("/healthz", "/none", "/v1/studies"):
        headers = http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


def test_a_report_is_shut_in_a_sandbox(http, finished):
    policy = wait_for(http, f"/v1/studies/{finished.name}/report").headers[
        "Content-Security-Policy"
    ]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")


def test_others_are_not_served_without_a_token(file_url):
    assert all(map(is_local, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(is_local, ("0.0.0.0", "10.0.0.1", "host", "")))
    with pytest.raises(StudyError, match=r"can reach 0\.0\.0\.0, so the service needs a token"):
        start_serving(file_url, "0.0.0.0", 0)
    with pytest.raises(StudyError, match="a service needs a storage that other processes can open"):
        create_app("sqlite://")


def test_tokens_are_made_listed_and_revoked_at_the_shell(file_url, store, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(["token", *words, "--storage", file_url])
        assert not end.value.code
        return capsys.readouterr().out

    secret = call("create", "ann", "--scope", "work", "--study", "demo").strip()
    assert valid_token(store, secret).study == "demo"
    assert "ann" in call("list")
    call("revoke", "ann")
    assert valid_token(store, secret) is None
    assert "revoked" in call("list")
    with audit.acting(audit.Act("ann", "tell", "demo", "r00-t00")), store.write():
        pass
    assert "r00-t00" in call("log")
    assert json.loads(call("log", "--json"))[0]["who"] == "ann"
