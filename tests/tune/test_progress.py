import io

import pytest
from rich.console import Console

from mixopt.space import Fidelity, Schedule, Trial
from mixopt.study import State, TrialRecord
from mixopt.tune import Progress

TRIAL = Trial(
    id="r00-t03",
    kind="initial",
    schedule=Schedule.static({"web": 1.0}),
    fidelity=Fidelity(parameters=1, tokens=1),
)


def record(state, reason=""):
    return TrialRecord(TRIAL, state, reason, 1, 0, started=100.0, ended=102.5)


def test_without_a_terminal_there_is_one_line_per_trial():
    out = io.StringIO()
    with Progress(Console(file=out), total=8) as progress:
        progress.started(TRIAL)
        progress.ended(record(State.finished), 2.25, left=250.0)
        progress.ended(record(State.failed, "the loss diverged"), None)
        progress.died(TRIAL)
    assert out.getvalue().splitlines() == [
        "[1/8] r00-t03 initial objective 2.2500 (best 2.2500) in 2.5 s, at most 0:04:10 left",
        "r00-t03 failed: the loss diverged",
        "r00-t03: its worker died",
    ]


def test_on_a_terminal_there_is_a_table():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console) as progress:
        progress.ended(record(State.finished), 2.25)
        progress.started(TRIAL.model_copy(update={"id": "r00-t04"}))
        plain = Console(file=io.StringIO(), width=100)
        plain.print(progress.table())
    shown = plain.file.getvalue()
    assert "1 trials, best objective 2.2500" in shown
    assert "r00-t04" in shown
    assert "running" in shown


def test_silence():
    out = io.StringIO()
    with Progress.silent() as progress:
        progress.ended(record(State.finished), 2.25)
    assert out.getvalue() == ""


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("said", ["<s>[INST] one [/INST]", "[rank0]: [/red] out", "[bold"])
def test_what_a_trainer_says_is_no_markup(terminal, said):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    with Progress(console) as progress:
        progress.started(TRIAL.model_copy(update={"label": said}))
        progress.ended(record(State.failed, f"\x1b[31m{said}\x1b[0m\nline two"), None)
    assert f"{said} line two" in console.file.getvalue()
    assert "\x1b[31m" not in console.file.getvalue()


def test_a_run_that_goes_on_counts_on():
    out = io.StringIO()
    with Progress(Console(file=out), total=8) as progress:
        progress.resumed([(record(State.finished), 2.0), (record(State.failed), None)])
        progress.ended(record(State.finished), 2.25)
    assert out.getvalue() == "[3/8] r00-t03 initial objective 2.2500 (best 2.0000) in 2.5 s\n"
