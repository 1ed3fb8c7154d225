"""Sixteen processes, four hundred trials, and ``kill -9`` at random."""

import os
import subprocess
import sys
from collections import defaultdict

import pytest
import storm
from stored import trial

from mixopt.space import Split
from mixopt.study.storage import State

TRIALS = 400


@pytest.mark.slow
def test_killed_workers_lose_no_trial_and_share_none(lasting, opened):
    store = opened(lasting)
    study = store.create_study("storm", "{}", "digest", "{}")
    assert study == storm.STUDY
    names = [f"t{i}" for i in range(TRIALS)]
    store.add_trials(study, [trial(name) for name in names])
    done = subprocess.run(
        [sys.executable, storm.__file__, lasting, "0"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line for line in lines if line[0] == "problem"] == []

    # None lost: each is finished, with all of its rungs.
    records = store.trials(study)
    assert [(r.trial.id, r.state) for r in records] == [(n, State.finished) for n in names]
    assert len(store.observations(study)) == TRIALS * len(storm.RUNGS)
    last = {n: {"loss": storm.loss(n, storm.RUNGS[-1])} for n in names}
    assert store.snapshot(study)[1] == {(n, Split.validation): v for n, v in last.items()}

    # None finished twice, and by nobody but the one who took it last.
    told = defaultdict(list)
    for what, name, attempt, worker in lines:
        if what == "told":
            told[name].append((int(attempt), worker))
    for record in records:
        assert told[record.trial.id] in ([], [(record.attempts, record.worker)])

    # No two living leases: a worker that lost its trial while it lived would have reported a
    # problem, and each further attempt follows a kill.
    assert 0 < sum(r.attempts - 1 for r in records) <= storm.KILLS
    attempts = [(n, a) for what, n, a, _ in lines if what == "take"]
    assert len(attempts) == len(set(attempts))
