"""Whether the process that holds a lease still lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stored import rung, trial

from mixopt.errors import StudyError
from mixopt.study.storage import State, Storage, this_worker
from mixopt.study.storage.workers import is_dead, this_host

HOLD = """
import sys
from mixopt.study.storage import Storage, this_worker
store = Storage(sys.argv[1])
[(record, _)] = store.lease(1, worker=this_worker(), seconds=3600, n=1)
print(record.trial.id, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_holds_nothing_any_more(tmp_path):
    store = Storage(tmp_path / "a.db")
    study = store.create_study("demo", "{}", "d", "{}")
    store.add_trials(study, [trial("t0"), trial("t1")])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "a.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "t0\n"
        assert store.lease(study, worker=this_worker(), seconds=9, trials=["t0"]) == []
        with pytest.raises(StudyError, match=f"'t0' is being run by process {holder.pid} on "):
            store.record(study, "t0", [rung("t0", 1, 1.0)], lease=None, end=State.finished)
        holder.kill()
        # Dead but not yet reaped: it holds nothing any more.
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        [(record, _)] = store.lease(study, worker=this_worker(), seconds=9, trials=["t0"])
        assert record.attempts == 2


def test_a_number_that_is_used_again_is_another_process():
    host, pid, born = this_worker().rsplit(":", 2)
    assert not is_dead(this_worker())
    assert is_dead(f"{host}:{pid}:{int(born) - 1}")
    assert (host, int(pid)) == (this_host(), os.getpid())


def test_nothing_is_known_of_other_hosts():
    assert not is_dead("elsewhere:1:1")
    assert not is_dead(f"elsewhere:{os.getpid()}:1")


def test_a_process_that_has_ended_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        worker = f"{this_host()}:{process.pid}:{stat[19]}"
        assert not is_dead(worker)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert is_dead(worker)
