"""Writes that come together share a transaction, and each is as if it were alone."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import STUDY
from sqlalchemy import event

from mixopt.errors import LeaseError, NotFoundError
from mixopt.service.access import Caller, Gate
from mixopt.service.catalogue import Catalogue
from mixopt.service.fits import Desk
from mixopt.service.problems import Refused
from mixopt.service.served_file import make_study
from mixopt.service.turns import Turn, Turns
from mixopt.study import State, Storage
from mixopt.study.storage import audit
from mixopt.study.storage.access_tokens import Scope, create_token
from mixopt.study.storage.audit import Act, acting
from mixopt.study.storage.workers import remote_worker
from mixopt.tune.study_file import StudyFile


class Server:
    """Turns over a storage with a study, its trials leased, and what was committed."""

    def __init__(self, url, executor):
        self.store = Storage(url)
        file = StudyFile.model_validate({**STUDY, "trainer": {"kind": "external"}})
        self.study = make_study(file, self.store)
        self.study.propose()
        held = self.store.lease(self.study.id, worker=remote_worker("w"), seconds=600)
        self.leases = {record.trial.id: lease for record, lease in held}
        self.ann = Caller(create_token(self.store, "ann", Scope.work), "127.0.0.1")
        known = Catalogue(self.store, Desk(executor=executor))
        self.turns = Turns(known, Gate(self.store, local=True))
        self.commits = 0
        event.listen(self.store._engine, "commit", self._committed)

    def _committed(self, _):
        self.commits += 1

    def tell(self, trial, lease=None, caller=None, study="demo"):
        def do(held, who):
            with acting(Act(who.name, "tell", held.study.name, trial)):
                return held.study.tell(trial, {"loss": 2.0}, lease=lease or self.leases[trial])

        return Turn(caller or self.ann, study, do)

    def all_at_once(self, *wanted):
        """What turns bring that wait while another one is made, and the commits it took."""

        async def take():
            gate, began = threading.Event(), threading.Event()

            def first(_held, _who):
                began.set()
                gate.wait()

            before = asyncio.ensure_future(self.turns.take(Turn(self.ann, "demo", first)))
            await asyncio.to_thread(began.wait)
            waiting = [asyncio.ensure_future(self.turns.take(turn)) for turn in wanted]
            await asyncio.sleep(0)
            commits = self.commits
            gate.set()
            await before
            found = await asyncio.gather(*waiting, return_exceptions=True)
            return found, self.commits - commits

        return asyncio.run(take())

    def states(self):
        return {r.trial.id: r.state for r in self.study.records()}

    def told(self):
        with self.store.read() as c:
            return sorted(row["trial"] for row in audit.read(c, 100) if row["action"] == "tell")


@pytest.fixture
def server(lasting):
    with ThreadPoolExecutor(1) as executor:
        made = Server(lasting, executor)
        yield made
        made.turns.close()
        made.store.close()


def test_turns_that_wait_share_a_transaction(server):
    names = list(server.leases)
    found, commits = server.all_at_once(*map(server.tell, names))
    assert found == [State.finished] * len(names)
    # The turn that they waited for, and theirs.
    assert commits == 2
    assert set(server.states().values()) == {State.finished}
    assert server.told() == names


def test_a_turn_that_is_refused_leaves_no_trace_in_those_of_the_others(server):
    first, second, third, *rest = server.leases
    stale = server.leases[third]
    found, _ = server.all_at_once(
        server.tell(first),
        server.tell(second, stale),
        server.tell("none", stale),
        *map(server.tell, rest),
    )
    assert [type(f) for f in found[:3]] == [State, LeaseError, NotFoundError]
    assert found[3:] == [State.finished] * len(rest)
    running = {name for name, state in server.states().items() if state == State.running}
    assert running == {second, third}
    assert server.told() == [first, *rest]


def test_who_is_not_let_in_writes_nothing_and_stops_nobody(server):
    first, second, *_ = server.leases
    reader = Caller(create_token(server.store, "reader", Scope.read), "127.0.0.1")
    other = create_token(server.store, "other", Scope.work, study="other")
    found, commits = server.all_at_once(
        server.tell(second, caller=Caller(None, "127.0.0.1")),
        server.tell(second, caller=Caller("mixopt_wrong", "127.0.0.1")),
        server.tell(second, caller=reader),
        server.tell(second, caller=Caller(other, "127.0.0.1")),
        server.tell(second, study="none"),
        server.tell(first),
    )
    assert [f.problem.status for f in found[:4]] == [401, 401, 403, 403]
    assert [type(f) for f in found[2:]] == [Refused, Refused, NotFoundError, State]
    assert commits == 2
    assert server.told() == [first]


def test_whoever_waits_is_answered_though_the_next_round_cannot_be_made(server, monkeypatch):
    def broken(_held):
        raise RuntimeError("no process left to fit in")

    monkeypatch.setattr(server.turns._known, "go_on", broken)
    one, other = list(server.leases)[:2]
    told = server.tell(one)
    ending = Turn(told.caller, told.study, told.do, ends=True)
    found, _ = server.all_at_once(ending, server.tell(other))
    assert str(found[0]) == "no process left to fit in"
    assert server.states()[one] == server.states()[other] == State.finished
