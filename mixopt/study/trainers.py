"""Your own trainer behind a trial: a Python function, or a shell command."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError, StudyError, TrialError
from mixopt.space import Observation, Report, Split, Trainer, Trial
from mixopt.study.results.recording import metric_value

#: Between looks at the rungs that a command writes.
LOOK_SECONDS = 0.5

Rung = Mapping[str, float]
# In full: (Schedule, Fidelity, int) -> Rung | Iterable[Rung]; what it returns is checked.
TrainFunction = Callable[..., Any]


def rung_observations(trial: Trial, values: Mapping[str, Any]) -> list[Observation]:
    """One rung's numbers as observations; ``tokens`` says where, else the end of the run.

    ``split`` names the held-out documents they were measured on, else they are the trial's.

    Raises:
        TrialError: If a value is not a finite number, or there is no such split.
    """
    split = values.get("split", trial.split.value)
    if split not in list(Split):
        raise TrialError(
            f"the split of a rung of trial {trial.id!r} must be one of "
            f"{', '.join(Split)}; got {split!r}",
            "leave it out for the split that the trial names",
        )
    tokens = values.get("tokens", trial.fidelity.tokens)
    if isinstance(tokens, bool) or not isinstance(tokens, (int, float)) or not tokens >= 0:
        raise TrialError(
            f"the tokens of a rung of trial {trial.id!r} must be a number; got {tokens!r}",
            "give the training tokens seen when the metrics were measured",
        )
    out = []
    for metric, value in values.items():
        if metric in ("tokens", "split"):
            continue
        try:
            number = metric_value(metric, value, trial)
        except StudyError as error:
            raise TrialError(error.message, error.hint) from None
        out.append(
            Observation(
                trial=trial.id, tokens=int(tokens), metric=metric, value=number, split=Split(split)
            )
        )
    require_finite(out)
    return out


def require_finite(observations: Sequence[Observation]) -> None:
    """Fail the trial on a value that is not finite.

    Raises:
        TrialError: Naming the metric, the trial and the tokens seen.
    """
    for o in observations:
        if not math.isfinite(o.value):
            raise TrialError(
                f"the metric {o.metric!r} of trial {o.trial!r} is not finite: {o.value!r} at "
                f"{o.tokens:,} tokens",
                "the run diverged: lower its learning rate",
            )


class EndEarly(BaseException):
    """What ``report`` raises where the trial is to end at the rung it reported; no error.

    It is no ``Exception``, so that a trainer that survives errors of its own lets it pass.
    """


@dataclass(frozen=True)
class CallableTrainer:
    """A trainer from a plain function.

    Args:
        function: ``function(schedule, fidelity, seed)`` returns the metrics of the finished run as
            a mapping, or yields one mapping per rung with the tokens seen under ``tokens``. Under
            Ray it must be picklable.
    """

    function: TrainFunction

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise StudyError(
                f"a trainer must be a function, or have a method run; got {self.function!r}",
                "write def train(schedule, fidelity, seed): return {'web': 3.21}",
            )

    def run(self, trial: Trial, report: Report) -> None:
        """Call the function and report what it returns or yields.

        Raises:
            TrialError: If it returns something else, or a value that is not finite.
        """
        result = self.function(trial.schedule, trial.fidelity, trial.seed)
        if isinstance(result, Mapping):
            report(rung_observations(trial, result))
            return
        if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
            raise TrialError(
                f"the train function must return a mapping of metrics or yield one per rung; got "
                f"{type(result).__name__}",
                'return {"metric": value}',
            )
        for rung in result:
            report(rung_observations(trial, rung))


@dataclass
class _Written:
    """A file that a command writes, read as far as it has come.

    Attributes:
        path: Where it is.
        read: Bytes that were read.
    """

    path: Path
    read: int = 0

    def lines(self) -> str:
        """The whole lines since the last look."""
        return self._take(whole=True)

    def rest(self) -> str:
        """All since the last look."""
        return self._take(whole=False)

    def _take(self, whole: bool) -> str:
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        taken = new[: new.rfind(b"\n") + 1] if whole else new
        self.read += len(taken)
        return taken.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class CommandTrainer:
    """A trainer from a shell command.

    The command finds the trial in the JSON file named by ``{schedule}`` (and by the variable
    ``MIXOPT_SCHEDULE``): ``trial``, ``schedule``, ``fidelity``, ``seed``, ``split``, and under
    ``phase_tokens`` the exact tokens per phase and domain. It writes one JSON object per rung, one
    per line, ``{"tokens": 1000000, "python": 2.31}``, to the file named by ``{out}``
    (``MIXOPT_OUT``), or to standard output where the command has no ``{out}`` and leaves that file
    empty. A line without ``tokens`` counts as the end of the run. A confirmation run may write a
    line for each of the two splits, told apart by ``"split": "validation"``; without it a line is
    of the trial's split.

    Args:
        command: With the placeholders ``{schedule}``, ``{out}``, ``{seed}``, ``{trial}``,
            ``{tokens}``, ``{parameters}`` and ``{split}``, each replaced by its shell-quoted value.
        metrics: Names that the last rung must hold.
        timeout: Seconds after which the command and its children are killed; None for no limit.
        directory: Where it runs; None for where the study was started.
        environment: Further variables.
        logs: Folder that keeps the command's output, one file per trial; None to drop it.
    """

    command: str
    metrics: tuple[str, ...] = ()
    timeout: float | None = None
    directory: str = field(default_factory=os.getcwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    logs: Path | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise StudyError(
                f"a timeout must be a number of seconds above 0; got {self.timeout!r}",
                "leave it out for no limit",
            )

    def run(self, trial: Trial, report: Report) -> None:
        """Run the command and report the rungs it writes, those of ``{out}`` while it runs.

        Raises:
            TrialError: If it fails, runs out of time, or writes something else than metrics.
        """
        seen: list[Rung] = []

        def tell(text: str) -> None:
            rungs = list(self._rungs(trial, text))
            seen.extend(rungs)
            if rungs:
                report([row for rung in rungs for row in rung_observations(trial, rung)])

        with tempfile.TemporaryDirectory(prefix=f"mixopt-{trial.id}-") as scratch:
            out = _Written(Path(scratch, "metrics.jsonl"))
            schedule = Path(scratch, "schedule.json")
            schedule.write_text(json.dumps(trial_document(trial), indent=2), encoding="utf-8")
            log = open_log(self.logs or Path(scratch), trial, self.command)
            printed = self._execute(trial, schedule, log, out, tell)
            rest = out.rest()
        last = rest if seen or rest.strip() else printed
        self._require_metrics(trial, [*seen, *self._rungs(trial, last)])
        tell(last)

    def _execute(
        self, trial: Trial, schedule: Path, log: Path, out: _Written, tell: Callable[[str], None]
    ) -> str:
        """Run the command to its end; what it printed.

        Its output goes to files: a pipe would be held open by whatever the command leaves behind.
        """
        values = _placeholders(trial, schedule, out.path)
        variables = {f"MIXOPT_{name.upper()}": value for name, value in values.items()}
        start, stdout = log.stat().st_size, log.with_suffix(".stdout")
        with stdout.open("wb") as printed, log.open("ab") as complaints:
            process = subprocess.Popen(
                _fill(self.command, values),
                shell=True,
                cwd=self.directory,
                env={**os.environ, **self.environment, **variables},
                stdout=printed,
                stderr=complaints,
                start_new_session=True,
            )
        try:
            code = self._follow(trial, process, out, tell)
        finally:
            _end_group(process)
            last = _text(log, start).strip().splitlines()[-5:]
            text = _text(stdout)
            append_log(log, f"--- standard output\n{text}" if text else "")
            stdout.unlink()
        if code != 0:
            raise TrialError(
                f"the command of trial {trial.id!r} ended with exit code {code}: "
                f"{' | '.join(last) or 'nothing on standard error'}",
                "run it by hand on a schedule, or see the trial's log",
            )
        return text

    def _follow(
        self,
        trial: Trial,
        process: subprocess.Popen[bytes],
        out: _Written,
        tell: Callable[[str], None],
    ) -> int:
        """Tell of the rungs that a command writes while it runs; its exit code."""
        end = time.monotonic() + (math.inf if self.timeout is None else self.timeout)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TrialError(
                    f"the command of trial {trial.id!r} ran longer than its {self.timeout:g} s and "
                    "was killed",
                    "raise the timeout, or lower the fidelity's tokens",
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(left, LOOK_SECONDS))
            tell(out.lines())

    def _rungs(self, trial: Trial, text: str) -> Iterable[Rung]:
        for line in text.splitlines():
            # A trainer that prints its metrics prints other lines too; objects are ours.
            if not line.lstrip().startswith("{"):
                continue
            try:
                rung = json.loads(line)
            except json.JSONDecodeError as error:
                raise TrialError(
                    f"the command of trial {trial.id!r} wrote a line that is not JSON ({error}): "
                    f"{line[:120]}",
                    'write one object per line: {"tokens": 1000000, "python": 2.31}',
                ) from None
            yield rung

    def _require_metrics(self, trial: Trial, rungs: list[Rung]) -> None:
        if not rungs:
            raise TrialError(
                f"the command of trial {trial.id!r} wrote no metrics to {{out}} or standard output",
                'write one object per line: {"tokens": 1000000, "python": 2.31}',
            )
        seen = set().union(*rungs)
        missing = [name for name in self.metrics if name not in seen]
        if missing:
            raise TrialError(
                f"the command of trial {trial.id!r} did not write the metrics {missing}; it wrote "
                f"{sorted(seen - {'tokens', 'split'})}",
                "metrics are named as in the objective",
            )


def trial_document(trial: Trial) -> dict[str, Any]:
    """What a command is told about its trial."""
    return {
        "trial": trial.id,
        "seed": trial.seed,
        "split": trial.split,
        "fidelity": trial.fidelity.model_dump(mode="json"),
        "schedule": trial.schedule.model_dump(mode="json"),
        "phase_tokens": trial.schedule.tokens(trial.fidelity.tokens),
    }


def _placeholders(trial: Trial, schedule: Path, out: Path) -> dict[str, str]:
    return {
        "schedule": str(schedule),
        "out": str(out),
        "seed": str(trial.seed),
        "trial": trial.id,
        "tokens": str(trial.fidelity.tokens),
        "parameters": str(trial.fidelity.parameters),
        "split": str(trial.split),
    }


def _fill(command: str, values: Mapping[str, str]) -> str:
    """Replace the known placeholders only: shells and awk use braces too."""
    names = "|".join(values)
    return re.sub(rf"\{{({names})\}}", lambda m: shlex.quote(values[m[1]]), command)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever the command left behind, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(path: Path, start: int = 0) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", errors="replace")


def log_path(logs: Path, trial: str) -> Path:
    """The file that keeps a trial's output, all attempts one after the other."""
    return logs / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', trial)}.log"


def open_log(logs: Path, trial: Trial, what: str) -> Path:
    """Begin an attempt in a trial's log; the folder is made."""
    logs.mkdir(parents=True, exist_ok=True)
    path = log_path(logs, trial.id)
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    append_log(path, f"=== trial {trial.id}, seed {trial.seed}, {began}: {what}\n")
    return path


def append_log(path: Path, text: str) -> None:
    """Add text to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def run_trainer(trainer: Trainer, trial: Trial, report: Report, logs: Path | None = None) -> str:
    """Run one trial; a failure is its reason, never an exception.

    Args:
        trainer: Runs it.
        trial: What is run.
        report: Takes the observations of each rung; what it raises is a failure too, but for
            ``EndEarly``.
        logs: Folder for the tracebacks of a trainer that raised; None to drop them.

    Returns:
        Why it failed, with the log's name; empty where it did not.
    """
    try:
        trainer.run(trial, report)
    except EndEarly:
        return ""
    except TrialError as error:
        reason = error.message
    except MixoptError as error:
        reason = f"{type(error).__name__}: {error.message}"
    except Exception as error:
        reason = _described(error)
        if logs is not None:
            append_log(open_log(logs, trial, reason), traceback.format_exc())
    else:
        return ""
    kept = logs is not None and log_path(logs, trial.id).exists()
    return f"{reason} (see {log_path(logs, trial.id)})" if logs is not None and kept else reason


def _described(error: Exception) -> str:
    """What went wrong in somebody else's trainer, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
