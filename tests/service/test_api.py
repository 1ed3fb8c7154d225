"""The routes: what they take, what they answer, and how they refuse."""

import io
import json
import os
import signal
import threading
import zipfile
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import STUDY, wait_for

from mixopt.errors import StorageError
from mixopt.service import trials_api
from mixopt.service.client import Service
from mixopt.service.fits import Desk, answer_of
from mixopt.study import State

YAML = {"Content-Type": "application/yaml"}


def refused(answer, status, code, text):
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert text in problem["detail"]
    return problem


def test_the_same_study_in_yaml_and_json_is_one(http):
    made = http.post("/v1/studies", content=yaml.safe_dump(STUDY), headers=YAML)
    assert made.status_code == 201
    again = http.post("/v1/studies", json=STUDY)
    assert again.status_code == 200
    assert again.json()["config"] == made.json()["config"]
    refused(
        http.post("/v1/studies", json={**STUDY, "seed": 1}), 409, "conflict", "seed was 0, now 1"
    )


def test_a_shipped_space_is_taken_by_name_and_never_by_path(http, tmp_path):
    assert http.post("/v1/studies", json={**STUDY, "space": "pile-17"}).status_code == 201
    path = tmp_path / "space.yaml"
    path.write_text("domains: [a, b]\n")
    answer = http.post("/v1/studies", json={**STUDY, "name": "b", "space": str(path)})
    refused(answer, 422, "invalid", "comes with mixopt")


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"trainer": {"kind": "command", "command": "rm"}}, "trainer", "must be {kind: external}"),
        ({"trainer": {"kind": "callable", "target": "os:abort"}}, "trainer", "{kind: external}"),
        ({"corpus": {"root": "/etc"}}, "corpus", "takes no corpus"),
        ({"batch": 0}, "batch", "must be greater than 0; got 0"),
        ({"bach": 4}, "bach", "unknown key 'bach'"),
        ({"space": {"domains": {"a": {"tokens": -1}}}}, "space.domains.a.tokens", "greater than"),
        ({"objective": {"weights": {"loss": 0.5}}}, "objective", "must sum to 1"),
    ],
)
def test_a_mistake_is_named_with_its_place(http, change, field, text):
    whole = {**STUDY, **change}
    for body, headers in ((json.dumps(whole), {}), (yaml.safe_dump(whole), YAML)):
        answer = http.post("/v1/studies", content=body, headers=headers)
        assert refused(answer, 422, "invalid", text)["field"] == field


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\xff", "cannot be read"),
        (b"name: [", "is not YAML"),
        (b"- a", "must hold keys and values"),
        (b"name: demo\nname: demo", "the key 'name' stands twice"),
        (b"a: &a [x, x]\nb: [*a, *a]", "uses a YAML alias"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deep"),
    ],
)
def test_yaml_that_is_no_study_is_refused(http, body, text):
    refused(http.post("/v1/studies", content=body, headers=YAML), 422, "invalid", text)


def test_an_infeasible_space_is_explained(http):
    domains = {"a": {"tokens": 10}, "b": {"tokens": 20}}
    target = {"parameters": 1, "tokens": 100}
    space = {"domains": domains, "target": target, "max_epochs": 2}
    answer = http.post("/v1/studies", json={**STUDY, "space": space})
    refused(answer, 422, "infeasible", "clash by 0.4 of weight")


def test_lists_come_in_pages(http, study):
    for name in ("alpha", "zeta"):
        http.post("/v1/studies", json={**STUDY, "name": name})
    first = http.get("/v1/studies", params={"limit": 2}).json()
    assert [s["name"] for s in first["studies"]] == ["alpha", "demo"]
    rest = http.get("/v1/studies", params={"limit": 2, "after": first["next"]}).json()
    assert ([s["name"] for s in rest["studies"]], rest["next"]) == (["zeta"], None)
    study.ask(1)
    page = http.get("/v1/studies/demo/trials", params={"limit": 4}).json()
    assert (len(page["trials"]), page["next"]) == (4, 3)
    rest = http.get("/v1/studies/demo/trials", params={"after": 3}).json()
    assert ([t["position"] for t in rest["trials"]], rest["next"]) == ([4, 5], None)
    running = http.get("/v1/studies/demo/trials", params={"state": "running"}).json()["trials"]
    assert [t["trial"]["id"] for t in running] == ["r00-t00"]


def test_an_ask_that_is_sent_again_gives_the_same(http, study):
    study.ask(1)
    wish = {"n": 2, "worker": "w", "key": "0123456789"}
    one, two = (http.post("/v1/studies/demo/trials:ask", json=wish).json() for _ in range(2))
    assert one == two
    assert len(one["trials"]) == 2
    other = http.post("/v1/studies/demo/trials:ask", json={**wish, "key": "9876543210"}).json()
    assert {t["trial"]["id"] for t in other["trials"]}.isdisjoint(
        t["trial"]["id"] for t in one["trials"]
    )


def test_who_waits_is_told_for_what(http, study):
    study.ask(6)
    answer = http.post("/v1/studies/demo/trials:ask", json={})
    assert (answer.status_code, answer.json()["waiting"]) == (202, "others")
    assert answer.headers["Retry-After"] == "1"


def test_an_archived_study_rests(http, study):
    study.ask(1)
    http.patch("/v1/studies/demo", json={"archived": True})
    answer = http.post("/v1/studies/demo/trials:ask", json={})
    refused(answer, 409, "not_possible", "'demo' is archived")
    assert http.get("/v1/studies").json()["studies"] == []
    assert len(http.get("/v1/studies", params={"archived": True}).json()["studies"]) == 1
    http.patch("/v1/studies/demo", json={"archived": False})
    assert study.ask(1)


def test_a_budget_that_is_raised_lets_the_search_go_on(http, finished):
    study = finished
    changed = {**study.info()["settings"], "budget": {"trials": 12}}
    http.patch("/v1/studies/demo", json={"settings": changed})
    assert len(study.ask()) == 2


def test_a_deleted_study_is_gone(http, study):
    study.ask(2)
    assert http.delete("/v1/studies/demo").status_code == 204
    refused(http.get("/v1/studies/demo"), 404, "not_found", "no study 'demo'")
    assert Service(http).create(STUDY).ask(1)[0].id == "r00-t00"


def test_a_study_without_results_recommends_nothing(http, study):
    assert study.name == "demo"
    refused(wait_for(http, "/v1/studies/demo/recommendation"), 409, "not_possible", "at least two")


def test_what_a_study_concludes_can_be_fetched(http, finished, tmp_path):
    study = finished
    schedule = wait_for(http, "/v1/studies/demo/schedule").json()
    assert schedule["format"] == "mixopt-schedule"
    packed = wait_for(http, "/v1/studies/demo/export/huggingface?sequence_length=8&batch=4")
    names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
    assert names
    assert sorted(
        p.name for p in study.export("huggingface", tmp_path, sequence_length=8, batch=4)
    ) == sorted(names)
    assert (tmp_path / names[0]).stat().st_size > 0
    answer = wait_for(http, "/v1/studies/demo/export/megatron")
    assert refused(answer, 422, "not_exported", "sequence")["hint"]
    one = http.get("/v1/studies/demo/schedule", params={"trial": "r00-t00"}).json()
    assert one != schedule
    assert "Recommended" in wait_for(http, "/v1/studies/demo/report").text
    assert study.recommend().schedule == study.schedule()


def test_confirmation_runs_are_handed_out(http, finished):
    study = finished
    while (answer := http.post("/v1/studies/demo/recommendation:confirm")).status_code == 202:
        pass
    assert answer.json()["added"] == 6
    trials = study.ask()
    assert {t.kind for t in trials} == {"confirmation"}
    for trial in trials:
        study.tell(trial.id, {"loss": 2.0 + trial.seed % 7 / 100})
    assert {c.label for c in study.recommend().confirmations} == {"recommendation", "baseline"}


def test_metrics_count_requests_and_trials(http, study):
    study.ask(1)
    lines = http.get("/metrics").text.splitlines()
    assert 'mixopt_trials{state="running",study="demo"} 1.0' in lines
    assert any(
        line.startswith('mixopt_requests_total{method="POST",route="/v1/studies",status="201"}')
        for line in lines
    )


def test_requests_are_answered_while_a_round_is_made(serve, file_url):
    done = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        http = serve(file_url, executor=busy)
        busy.submit(done.wait)
        try:
            study = Service(http).create(STUDY)
            assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
            answer = http.post("/v1/studies/demo/trials:ask", json={})
            assert (answer.status_code, answer.json()["waiting"]) == (202, "proposals")
            assert study.info()["proposing"]
        finally:
            done.set()
        assert study.ask(1)[0].id == "r00-t00"


@pytest.mark.slow
def test_fits_go_on_after_their_process_was_killed():
    desk = Desk()
    try:
        first = desk.ask("one", os.getpid).result()
        assert first != os.getpid()
        assert desk.ask("one", os.getpid).result() == first
        os.kill(first, signal.SIGKILL)
        lost = desk.ask("two", signal.pause)
        with pytest.raises(BrokenExecutor):
            lost.result()
        with pytest.raises(StorageError, match="the process that makes the round has died"):
            answer_of(lost, "the round")
        assert desk.ask("three", os.getpid).result() != first
    finally:
        desk.close()


# Fuzzed bodies: an answer that is documented, whatever comes.

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3)
)
few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def documented(answer):
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert set(answer.json()) == {"title", "status", "code", "detail", "hint", "field"}


@few
@given(key=st.sampled_from([*STUDY, "trainer", "fidelities", "seed"]), value=values)
def test_any_value_of_a_study_is_taken_or_refused(http, key, value):
    documented(http.post("/v1/studies", content=json.dumps({**STUDY, key: value})))


@few
@given(body=st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_taken_or_refused(http, body):
    for headers in ({}, YAML):
        documented(http.post("/v1/studies", content=body, headers=headers))


@few
@given(body=st.dictionaries(st.sampled_from(["lease", "values", "tokens", "observations"]), values))
def test_any_result_is_taken_or_refused(http, body):
    http.post("/v1/studies", json=STUDY)
    for verb in ("tell", "report", "fail", "heartbeat", "release"):
        path = f"/v1/studies/demo/trials/r00-t00:{verb}"
        documented(http.post(path, content=json.dumps(body)))
    state = http.get("/v1/studies/demo/trials/r00-t00")
    assert state.status_code == 404 or state.json()["record"]["state"] in list(State)


@pytest.mark.usefixtures("study")
def test_a_round_that_is_stored_while_one_asks_is_not_taken_for_others(http, monkeypatch):
    take, looked = trials_api._take, []

    def late(held, wish, who):
        looked.append(len(looked))
        if len(looked) == 2:
            # The round comes between the second look and the answer.
            found = take(held, wish, who) if held.study.store.any_open(held.study.id) else []
            held.study.propose()
            return found
        return [] if len(looked) == 1 else take(held, wish, who)

    monkeypatch.setattr(trials_api, "_take", late)
    monkeypatch.setattr(trials_api.Catalogue, "go_on", lambda *_: None)
    answer = http.post("/v1/studies/demo/trials:ask", json={}).json()
    assert answer["trials"] or answer["waiting"] == "proposals"
