"""Drivers of one study that are killed and started again, and two that run at once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from cheap_job import Train, make_study

from mixopt.study import CallableTrainer, State, Study

JOB = Path(__file__).with_name("cheap_job.py")
PATIENCE = 600
SLOTS = os.cpu_count() or 1

pytestmark = pytest.mark.slow


def tree(pid):
    """A process and all its descendants."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def kill_tree(process):
    for pid in tree(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def start(folder):
    with (folder / "err").open("a") as complaints:
        return subprocess.Popen(
            [sys.executable, str(JOB), str(folder)],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def wait_until(process, folder, reached):
    """Follow the study in its storage until it has come so far, and still runs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "err").read_text()
        if (folder / "study.db").exists() and reached(make_study(folder).records()):
            return
        time.sleep(0.02)
    pytest.fail(f"the study did not come so far in {PATIENCE} s")


def in_first_round(records):
    done = sum(r.state == State.finished for r in records)
    return done >= 2 and any(r.state == State.running for r in records)


def in_second_round(records):
    second = [r for r in records if r.trial.round == 1 and r.search]
    done = sum(r.state == State.finished for r in second)
    return done >= 1 and any(r.state == State.running for r in second)


def starts(folder):
    """How often each seed was trained on so far."""
    lines = (folder / "log").read_text().splitlines()
    return Counter(int(line.split()[1]) for line in lines if line.startswith("start"))


def finished(folder):
    """Seed and number of starts of every finished trial."""
    counts = starts(folder)
    records = make_study(folder).records()
    return {r.trial.seed: counts[r.trial.seed] for r in records if r.state == State.finished}


def test_a_killed_study_goes_on_as_if_nothing_had_happened(tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    kept = {}
    for moment in (in_first_round, in_second_round):
        process = start(folder)
        wait_until(process, folder, moment)
        kill_tree(process)
        process.stdout.close()
        # What was finished before is still there, and was not trained again.
        now = finished(folder)
        assert kept.items() <= now.items()
        kept = now
    final = start(folder)
    printed, _ = final.communicate(timeout=PATIENCE)
    assert final.returncode == 0, (folder / "err").read_text()
    assert kept.items() <= finished(folder).items()

    study = Study.open(folder / "study.db")
    assert all(r.state == State.finished for r in study.records())
    counts = starts(folder)
    assert sum(r.search for r in study.records()) == 10
    assert set(counts) == {r.trial.seed for r in study.records()}
    # Only trials in flight at a kill are trained again: one per slot, two kills.
    searched = {r.trial.seed for r in study.records() if r.search}
    assert sum(counts[seed] for seed in searched) <= 10 + 2 * SLOTS

    # The same study without a kill, and without Ray, recommends the same; nothing else is on
    # standard output, where Ray's chatter has no place.
    straight = tmp_path / "straight"
    straight.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = CallableTrainer(Train(straight / "log", seconds=0))
        expected = make_study(straight).optimize(trainer, confirm=True)
    finally:
        torch.set_num_threads(threads)
    assert printed.splitlines() == [expected.model_dump_json()]
    assert "Traceback" not in (folder / "err").read_text()


def test_two_drivers_of_one_study_share_it_and_train_nothing_twice(tmp_path):
    drivers = [start(tmp_path) for _ in range(2)]
    printed = [driver.communicate(timeout=PATIENCE)[0] for driver in drivers]
    said = (tmp_path / "err").read_text()
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert printed[0] == printed[1] != ""
    records = make_study(tmp_path).records()
    assert all(r.state == State.finished for r in records)
    # Trials may share a seed, so each seed was started as often as there are trials of it.
    assert starts(tmp_path) == Counter(r.trial.seed for r in records)
    assert "Traceback" not in said
