import json
import os
import time

import pytest

from mixopt.errors import TrialError
from mixopt.space import Fidelity, Schedule, Split, Trial
from mixopt.study import CallableTrainer, CommandTrainer, run_trial
from mixopt.study.trainers import run_trainer

TRIAL = Trial(
    id="r00-t00",
    schedule=Schedule.two_phase({"web": 0.75, "code": 0.25}, {"web": 0.5, "code": 0.5}, 0.2),
    fidelity=Fidelity(parameters=1000, tokens=100),
    seed=7,
)


def reported(trainer, trial=TRIAL):
    rows = []
    trainer.run(trial, rows.extend)
    return rows


def test_a_function_may_return_its_last_metrics():
    def train(schedule, _fidelity, seed):
        return {"loss": schedule.ending["code"] + seed}

    (row,) = reported(CallableTrainer(train))
    assert (row.trial, row.tokens, row.metric, row.value) == ("r00-t00", 100, "loss", 7.5)


def test_a_function_may_yield_rungs_on_the_trials_split():
    def train(*_):
        for tokens in (50, 100):
            yield {"tokens": tokens, "loss": 1 / tokens}

    confirming = TRIAL.model_copy(update={"split": Split.confirmation})
    rows = reported(CallableTrainer(train), confirming)
    assert [r.tokens for r in rows] == [50, 100]
    assert {r.split for r in rows} == {Split.confirmation}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (3.0, "must return a mapping of metrics or yield one per rung; got float"),
        ({"loss": float("nan")}, "'loss' of trial 'r00-t00' is not finite: nan at 100 tokens"),
        ({"loss": "low"}, "'loss' of trial 'r00-t00' must be a number; got 'low'"),
        ({"loss": 1.0, "tokens": "all"}, "the tokens of a rung .* must be a number; got 'all'"),
    ],
)
def test_a_function_that_returns_something_else_fails_its_trial(result, message):
    with pytest.raises(TrialError, match=message):
        reported(CallableTrainer(lambda *_: result))


def test_a_command_reads_the_schedule_and_writes_rungs(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import json, os, sys\n"
        "given = json.load(open(sys.argv[1]))\n"
        "assert sys.argv[1] == os.environ['MIXOPT_SCHEDULE']\n"
        "code = sum(phase['code'] for phase in given['phase_tokens'])\n"
        "print('a line of the trainer itself')\n"
        "with open(sys.argv[2], 'w') as out:\n"
        "    for tokens in (50, given['fidelity']['tokens']):\n"
        "        row = {'tokens': tokens, 'loss': code, 'seed': int(sys.argv[3])}\n"
        "        print(json.dumps(row), file=out)\n"
    )
    trainer = CommandTrainer(f"python3 {script} {{schedule}} {{out}} {{seed}}", metrics=("loss",))
    rows = [(r.tokens, r.metric, r.value) for r in reported(trainer)]
    # 80 tokens at a quarter and 20 at a half are 20 + 10 of code.
    assert rows == [(50, "loss", 30), (50, "seed", 7), (100, "loss", 30), (100, "seed", 7)]


def test_a_command_may_print_its_metrics():
    line = json.dumps({"loss": 2.5})
    rows = reported(CommandTrainer(f"echo starting; echo '{line}'"))
    assert [(r.tokens, r.value) for r in rows] == [(100, 2.5)]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo one >&2; echo out of memory >&2; exit 3", r"exit code 3: one \| out of memory"),
        ("exit 4", "exit code 4: nothing on standard error"),
        ("true", "wrote no metrics"),
        ("echo '{\"loss\": 1'", "a line that is not JSON"),
        ("echo '{\"other\": 1}'", r"did not write the metrics \['loss'\]; it wrote \['other'\]"),
        ("echo '{\"loss\": NaN}'", "'loss' of trial 'r00-t00' is not finite"),
    ],
)
def test_a_command_that_goes_wrong_fails_its_trial(command, message):
    with pytest.raises(TrialError, match=message):
        reported(CommandTrainer(command, metrics=("loss",)))


def test_a_command_out_of_time_is_killed_with_its_children(tmp_path):
    note = tmp_path / "child"
    command = f"sleep 300 & echo $! > {note}; wait"
    with pytest.raises(TrialError, match=r"ran longer than its 0.5 s and was killed"):
        reported(CommandTrainer(command, timeout=0.5))
    child = int(note.read_text())
    deadline = time.monotonic() + 30
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def test_a_run_may_be_measured_on_both_splits():
    def train(*_):
        yield {"loss": 2.0}
        yield {"loss": 2.5, "split": "validation"}
        yield {"loss": 2.5, "split": "test"}

    rows = []
    trial = TRIAL.model_copy(update={"split": Split.confirmation})
    with pytest.raises(TrialError, match="one of validation, confirmation; got 'test'"):
        CallableTrainer(train).run(trial, rows.extend)
    assert [(r.split, r.value) for r in rows] == [("confirmation", 2.0), ("validation", 2.5)]


def test_a_child_that_holds_the_output_does_not_hold_the_trial(tmp_path):
    # It leaves the command's process group, so that killing the group does not end it.
    note = tmp_path / "child"
    command = f"setsid sh -c 'echo $$ > {note}; exec sleep 300' & sleep 300"
    start = time.monotonic()
    with pytest.raises(TrialError, match=r"ran longer than its 1 s and was killed"):
        reported(CommandTrainer(command, timeout=1))
    # It would be 300 s with a pipe that the child holds open.
    assert time.monotonic() - start < 120
    os.kill(int(note.read_text()), 9)


def test_a_commands_output_is_kept_over_its_attempts(tmp_path):
    logs = tmp_path / "logs"
    line = json.dumps({"loss": 2.5})
    command = f"echo '[rank0] loading' >&2; echo plain; echo '{line}'"
    reported(CommandTrainer(command, logs=logs))
    failing = CommandTrainer("echo [/INST] >&2; exit 3", logs=logs)
    reason = run_trainer(failing, TRIAL, lambda _rows: None, logs)
    assert reason.startswith("the command of trial 'r00-t00' ended with exit code 3: [/INST]")
    assert str(logs / "r00-t00.log") in reason
    kept = (logs / "r00-t00.log").read_text()
    for text in ("[rank0] loading", "plain", line, "[/INST]"):
        assert f"\n{text}\n" in kept
    assert kept.count("=== trial r00-t00, seed 7") == 2
    assert [p.name for p in logs.iterdir()] == ["r00-t00.log"]


def test_a_traceback_is_kept(tmp_path):
    def broken(*_):
        raise KeyError("shard 7")

    reason = run_trainer(CallableTrainer(broken), TRIAL, lambda _rows: None, tmp_path / "logs")
    assert reason.startswith("KeyError: 'shard 7' (")
    assert f"(see {tmp_path / 'logs' / 'r00-t00.log'})" in reason
    assert "Traceback (most recent call last)" in (tmp_path / "logs" / "r00-t00.log").read_text()
    assert run_trainer(CallableTrainer(lambda *_: {"loss": 1.0}), TRIAL, lambda _rows: None) == ""


def _runs(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_an_error_in_somebody_elses_code_is_the_trials_reason(make):
    study = make()
    first, second, *_ = study.ask()

    def broken(*_):
        raise KeyError("shard 7")

    assert run_trial(study, CallableTrainer(broken), first)
    record = study.record_of(first.id)
    assert record.state == "failed"
    assert record.reason.startswith("KeyError: 'shard 7' (")
    assert "test_trainers.py, line" in record.reason
    assert run_trial(study, CallableTrainer(lambda *_: {"other": 1.0}), second)
    assert "needs the metrics ['loss'] at its last rung" in study.record_of(second.id).reason
    assert not run_trial(study, CallableTrainer(broken), first)
