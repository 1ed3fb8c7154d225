"""What a storage promises, on every kind of database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from stored import rung, trial

from mixopt.errors import StudyError
from mixopt.space import Kind, Split
from mixopt.study.storage import State, this_worker

OTHER = "elsewhere:17:4242"
ANOTHER = "farther:18:4343"


def ids(found):
    return [record.trial.id for record, _ in found]


def at_once(calls):
    """What calls return that start together, each in a thread."""
    gate = threading.Barrier(len(calls))

    def one(call):
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_a_lease_starts_what_waits_and_gives_it_to_nobody_else(store, study):
    found = store.lease(study, worker=OTHER, seconds=60, n=3)
    assert ids(found) == ["t0", "t1", "t2"]
    record, lease = found[0]
    assert (record.state, record.attempts, record.worker) == (State.running, 1, OTHER)
    assert record.expires == lease.expires == pytest.approx(store.now() + 60, abs=10)
    assert store.trial(study, "t0") == record
    assert ids(store.lease(study, worker=ANOTHER, seconds=60)) == ["t3"]
    assert store.lease(study, worker=ANOTHER, seconds=60) == []


def test_trials_are_leased_by_id_and_by_kind(store, study):
    assert ids(store.lease(study, worker=OTHER, seconds=60, trials=["t4", "t1"])) == ["t1", "t4"]
    assert store.lease(study, worker=OTHER, seconds=60, trials=["t4"]) == []
    assert store.lease(study, worker=OTHER, seconds=60, trials=[]) == []
    with pytest.raises(StudyError, match="the study has no trial 'none'"):
        store.lease(study, worker=OTHER, seconds=60, trials=["t2", "none"])
    assert store.trial(study, "t2").state == State.waiting
    assert "t4" not in ids(store.lease(study, worker=OTHER, seconds=60))


def test_the_search_alone_is_leased_unless_everything_is_asked_for(store, study):
    assert ids(store.lease(study, worker=OTHER, seconds=60)) == ["t0", "t1", "t2", "t3"]
    assert ids(store.lease(study, worker=OTHER, seconds=60, search_only=False)) == ["t4"]


def test_an_expired_lease_returns_the_trial_as_it_was(store, study, clock_at):
    [(first, old)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    store.record(study, "t0", [rung("t0", 10, 4.0)], lease=old)
    clock_at.time += 59
    assert store.lease(study, worker=ANOTHER, seconds=60, trials=["t0"]) == []
    clock_at.time += 1
    [(again, _)] = store.lease(study, worker=ANOTHER, seconds=60, trials=["t0"])
    assert (again.trial, again.attempts) == (first.trial, 2)
    assert store.observations(study) == []


def test_a_heartbeat_prolongs_a_lease(store, study, clock_at):
    [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    clock_at.time += 50
    lease = store.heartbeat(lease, 60)
    clock_at.time += 50
    assert store.lease(study, worker=ANOTHER, seconds=60, trials=["t0"]) == []
    # Late, but nobody has taken the trial meanwhile.
    clock_at.time += 50
    assert store.heartbeat(lease, 60).expires == clock_at.time + 60


def test_the_holder_of_a_lost_lease_can_write_nothing(store, study, clock_at):
    [(_, old)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    clock_at.time += 61
    [(_, new)] = store.lease(study, worker=ANOTHER, seconds=60, trials=["t0"])
    attempts = (
        lambda: store.record(study, "t0", [rung("t0", 10, 4.0)], lease=old),
        lambda: store.record(study, "t0", [], lease=old.token, end=State.finished),
        lambda: store.fail(study, "t0", "late", lease=old),
        lambda: store.requeue(study, "t0", crashed=True, lease=old),
        lambda: store.heartbeat(old, 60),
    )
    for late in attempts:
        with pytest.raises(StudyError, match=r"lease of trial 't0'.*process 18 on farther holds"):
            late()
    assert not store.give_back(old)
    assert store.trial(study, "t0").worker == ANOTHER
    store.record(study, "t0", [rung("t0", 10, 4.0)], lease=new, end=State.finished)
    assert store.trial(study, "t0").state == State.finished


def test_writes_without_a_lease_are_for_trials_that_no_other_process_runs(store, study, clock_at):
    store.record(study, "t0", [rung("t0", 10, 4.0)], lease=None)
    store.lease(study, worker=this_worker(), seconds=60, trials=["t0", "t1"])
    store.lease(study, worker=OTHER, seconds=60, trials=["t2"])
    store.record(study, "t0", [rung("t0", 10, 4.5)], lease=None)
    for alien in (
        lambda: store.record(study, "t2", [rung("t2", 10, 4.0)], lease=None),
        lambda: store.fail(study, "t2", "late", lease=None),
        lambda: store.requeue(study, "t2"),
    ):
        with pytest.raises(StudyError, match="trial 't2' is being run by process 17 on elsewhere"):
            alien()
    clock_at.time += 61
    store.requeue(study, "t2", crashed=True)
    assert store.trial(study, "t2").crashes == 1


def test_a_trial_given_back_waits_again(store, study):
    [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    assert store.give_back(lease)
    record = store.trial(study, "t0")
    assert (record.state, record.worker, record.expires) == (State.waiting, None, None)
    assert not store.give_back(lease)
    with pytest.raises(StudyError, match="it is waiting now"):
        store.record(study, "t0", [], lease=lease, end=State.finished)
    assert ids(store.lease(study, worker=ANOTHER, seconds=60, n=1)) == ["t0"]


@pytest.mark.parametrize("end", [State.finished, State.ended_early])
def test_telling_the_same_again_is_accepted_and_anything_else_refused(store, study, end):
    [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    value = 0.1 + 0.2
    rows = [rung("t0", 500, 3.0), rung("t0", 1000, value)]
    for _ in range(2):
        store.record(study, "t0", rows[:1], lease=lease)
    for _ in range(2):
        store.record(study, "t0", rows, lease=lease, end=end)
    # The answer got lost, and the trial is told again by a process that knows no lease.
    store.record(study, "t0", rows, lease=None, end=end)
    assert store.trial(study, "t0").state == end
    assert store.observations(study) == rows
    near = rung("t0", 1000, 0.3)
    with pytest.raises(StudyError, match=r"loss = 0\.3 at 1,000 .*stored is 0\.30000000000000004"):
        store.record(study, "t0", [near], lease=lease)
    with pytest.raises(StudyError, match=rf"it is {end} without it"):
        store.record(study, "t0", [rung("t0", 2000, 2.0)], lease=lease)
    other = {State.finished: State.ended_early, State.ended_early: State.finished}[end]
    with pytest.raises(StudyError, match=rf"told as {other}, but it is stored as {end}"):
        store.record(study, "t0", rows, lease=lease, end=other)
    with pytest.raises(StudyError, match=rf"is {end} and cannot fail"):
        store.fail(study, "t0", "late", lease=lease)
    store.requeue(study, "t0")
    assert store.trial(study, "t0").state == end
    assert store.observations(study) == rows


def test_one_message_may_not_contradict_itself(store, study):
    rows = [rung("t0", 500, 3.0), rung("t0", 500, 3.5)]
    with pytest.raises(StudyError, match=r"loss = 3\.5 at 500 tokens, but stored is 3\.0"):
        store.record(study, "t0", rows, lease=None, end=State.finished)
    assert store.observations(study) == []
    assert store.trial(study, "t0").state == State.waiting


def test_a_failed_trial_keeps_its_reason_until_it_is_requeued(store, study):
    [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    store.fail(study, "t0", "out of memory\0\udce9", lease=lease)
    store.fail(study, "t0", "its worker died", lease=None)
    record = store.trial(study, "t0")
    assert (record.state, record.reason) == (State.failed, "out of memory\ufffd?")
    with pytest.raises(StudyError, match=r"'t0' is stored as failed \(out of memory"):
        store.record(study, "t0", [rung("t0", 1, 1.0)], lease=lease)
    assert "t0" not in ids(store.lease(study, worker=OTHER, seconds=60))
    store.requeue(study, "t0")
    assert ids(store.lease(study, worker=ANOTHER, seconds=60)) == ["t0"]


def test_a_trial_ends_with_its_worker_and_time_on_record(store, study):
    [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
    store.record(study, "t0", [rung("t0", 1, 1.0)], lease=lease, end=State.finished)
    record = store.trial(study, "t0")
    assert (record.worker, record.expires, record.open) == (OTHER, None, False)
    assert record.seconds >= 0


def test_many_workers_at_once_never_get_the_same_trial(backend, study):
    stores = [backend.open() for _ in range(8)]
    calls = [
        lambda s=s, k=k: s.lease(study, worker=f"host{k}:1:1", seconds=60, n=1)
        for k, s in enumerate(stores)
    ]
    got = [i for found in at_once(calls) for i in ids(found)]
    assert sorted(got) == ["t0", "t1", "t2", "t3"]


def test_a_round_is_stored_once_however_many_propose_it(backend, study):
    stores = [backend.open() for _ in range(6)]
    new = [trial(f"r1-t{i}") for i in range(4)]
    # Each shares one trial only with the next: all or none, or a round would be torn.
    parts = [[new[k % 4], trial(f"own{k}"), new[(k + 1) % 4]] for k in range(6)]
    calls = [lambda s=s, p=p: s.add_trials(study, p) for s, p in zip(stores, parts, strict=True)]
    added = at_once(calls)
    stored = [r.trial.id for r in backend.open().trials(study)][5:]
    expected = [t.id for part, there in zip(parts, added, strict=True) if there for t in part]
    assert sorted(stored) == sorted(expected)
    assert len(set(stored)) == len(stored)
    assert 1 <= sum(added) <= 2


def test_a_study_is_created_once(backend):
    stores = [backend.open() for _ in range(6)]
    found = at_once([lambda s=s: s.create_study("one", "{}", "d", "{}") for s in stores])
    assert len(set(found)) == 1
    assert stores[0].study_names() == ["one"]


def test_one_process_at_a_time_proposes(store, study, clock_at):
    def proposing(worker):
        return store.propose_lock(study, worker=worker, seconds=60)

    with proposing(OTHER) as first:
        assert first
        with proposing(ANOTHER) as second:
            assert not second
    with proposing(ANOTHER) as slow:
        assert slow
        clock_at.time += 61
        quick = proposing(OTHER)
        assert quick.__enter__()
    # The end of the slow one frees nothing of the one that has taken over.
    with proposing(ANOTHER) as second:
        assert not second
    quick.__exit__(None, None, None)
    with proposing(ANOTHER) as second:
        assert second


def test_a_proposal_that_fails_frees_the_study(store, study):
    def propose():
        with store.propose_lock(study, worker=OTHER, seconds=60):
            raise ValueError("singular")

    with pytest.raises(ValueError, match="singular"):
        propose()
    with store.propose_lock(study, worker=ANOTHER, seconds=60) as mine:
        assert mine


def test_attaching_is_idempotent_and_never_writes_into_another_trial(store, study):
    run = trial("mine", Kind.attached)
    rows = [rung("mine", 1_000_000, 2.5)]
    assert store.attach(study, [(run, rows)])
    assert not store.attach(study, [(run, rows)])
    with pytest.raises(StudyError, match=r"'mine' was told loss = 2\.6 .* stored is 2\.5"):
        store.attach(study, [(run, [rung("mine", 1_000_000, 2.6)])])
    with pytest.raises(StudyError, match="id 'mine' belongs to another run: its seed is 0, not 5"):
        store.attach(study, [(run.model_copy(update={"seed": 5}), rows)])
    with pytest.raises(StudyError, match="'t0' belongs to another run: its kind is initial"):
        store.attach(study, [(trial("t0", Kind.attached), [rung("t0", 1_000_000, 2.5)])])
    others = [(trial("also", Kind.attached), []), (trial("t0", Kind.attached), [])]
    with pytest.raises(StudyError, match="'t0' belongs to another run"):
        store.attach(study, others)
    assert store.trial(study, "also") is None, "all of them are attached or none"
    assert store.trial(study, "t0").state == State.waiting
    assert store.observations(study) == rows


def test_a_snapshot_is_of_one_moment(backend, study):
    writer, reader = backend.open(), backend.open()
    done = threading.Event()

    def write():
        try:
            for i in range(40):
                run = trial(f"b{i}", Kind.attached)
                writer.attach(study, [(run, [rung(run.id, 1_000_000, 2.5)])])
        finally:
            # A reader that is told nothing would read for ever.
            done.set()

    def read():
        seen = []
        # In memory both share one connection: a reader without a pause could starve the writer.
        while not (seen and done.wait(0.001)):
            records, last, _ = reader.snapshot(study)
            ended = {r.trial.id for r in records if r.state == State.finished}
            seen.append(ended == {name for name, _ in last})
        return seen

    _, seen = at_once([write, read])
    assert all(seen)


def test_the_next_free_id_is_one_that_nobody_has(backend, study):
    store = backend.open()
    for taken in ("a0001", "a0007", "a12"):
        store.attach(study, [(trial(taken, Kind.attached), [])])
    stores = [backend.open() for _ in range(4)]
    run, rows = trial("", Kind.attached), [rung("", 1_000_000, 2.5)]
    got = at_once([lambda s=s: s.attach_next(study, run, rows) for s in stores])
    assert sorted(got) == ["a0008", "a0009", "a0010", "a0011"]
    assert [o.trial for o in store.observations(study)] == sorted(got)
    assert store.trial(study, "a0008").trial == trial("a0008", Kind.attached)


def test_last_values_are_those_after_the_most_tokens(store, study):
    other = store.create_study("other", "{}", "d", "{}")
    store.add_trials(other, [trial("t0")])
    store.record(other, "t0", [rung("t0", 9000, 9.0)], lease=None)
    rows = [
        rung("t0", 100, 5.0),
        rung("t0", 1000, 3.0),
        rung("t0", 300, 4.0),
        rung("t0", 300, 0.5, "accuracy"),
        rung("t0", 500, 3.7, split=Split.confirmation),
        rung("t1", 100, 6.0),
    ]
    for name in ("t0", "t1"):
        store.record(study, name, [r for r in rows if r.trial == name], lease=None)
    assert store.snapshot(study)[1] == {
        ("t0", Split.confirmation): {"loss": 3.7},
        ("t0", Split.validation): {"accuracy": 0.5, "loss": 3.0},
        ("t1", Split.validation): {"loss": 6.0},
    }
    assert store.snapshot(other)[1] == {("t0", Split.validation): {"loss": 9.0}}


def test_numbers_come_back_to_the_last_bit(store, study):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -1e-300]
    rows = [rung("t0", 2**40 + i, v) for i, v in enumerate(values)]
    store.record(study, "t0", rows, lease=None)
    assert [o.value.hex() for o in store.observations(study)] == [v.hex() for v in values]


def test_events_are_read_in_the_order_in_which_they_were_written(store, study):
    other = store.create_study("other", "{}", "d", "{}")
    for kind, n in (("stop", 1), ("cost", 0), ("stop", 1)):
        store.add_event(study, kind, {"n": n})
    found = [(e["kind"], e["n"]) for e in store.snapshot(study)[2]]
    assert found == [("stop", 1), ("cost", 0), ("stop", 1)]
    assert store.snapshot(other)[2] == ()


def test_unknown_trials_are_named(store, study):
    for call in (
        lambda: store.record(study, "none", [], lease=None),
        lambda: store.fail(study, "none", "why", lease=None),
        lambda: store.requeue(study, "none"),
    ):
        with pytest.raises(StudyError, match="the study has no trial 'none'"):
            call()
    assert store.trial(study, "none") is None


def test_calls_inside_a_block_of_writes_are_one_transaction(store, study):
    def undone():
        with store.write():
            [(_, lease)] = store.lease(study, worker=OTHER, seconds=60, trials=["t0"])
            store.record(study, "t0", [rung("t0", 10, 4.0)], lease=lease)
            assert store.trial(study, "t0").state == State.running
            store.fail(study, "none", "lost", lease=None)

    with pytest.raises(StudyError, match="no trial 'none'"):
        undone()
    assert store.trial(study, "t0").state == State.waiting
    assert store.observations(study) == []
    with store.write():
        store.record(study, "t0", [rung("t0", 10, 4.0)], lease=None)
    assert store.observations(study) == [rung("t0", 10, 4.0)]
