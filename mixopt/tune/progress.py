"""Progress on standard error: a live table on a terminal, one line per trial otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mixopt.space import Trial
from mixopt.study import State, TrialRecord

SHOWN = 12


class Progress:
    """Shows trials as they start and end; to be used as a context.

    Args:
        console: Where to; None for standard error.
        total: Trials the search may take at most, where known.
        sign: -1 where the objective is to be maximised.
    """

    def __init__(
        self, console: Console | None = None, total: int | None = None, sign: float = 1.0
    ) -> None:
        self._sign = sign
        self._console = console or Console(stderr=True)
        self._total = total
        self._running: dict[str, tuple[Trial, float]] = {}
        self._ended: list[tuple[TrialRecord, float | None]] = []
        self._searched, self._others = 0, 0
        self._best: float | None = None
        self._left = ""
        self._live: Live | None = None

    @classmethod
    def silent(cls) -> Progress:
        """One that shows nothing."""
        return cls(Console(quiet=True))

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(
                console=self._console, get_renderable=self.table, refresh_per_second=2
            )
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def resumed(self, stored: Iterable[tuple[TrialRecord, float | None]]) -> None:
        """Count the trials that an earlier run has ended, each with its objective."""
        self._searched, self._others, self._best = 0, 0, None
        for record, objective in stored:
            self._count(record, objective)

    def started(self, trial: Trial) -> None:
        """A worker has taken a trial."""
        self._running[trial.id] = (trial, time.monotonic())

    def ended(
        self, record: TrialRecord, objective: float | None, left: float | None = None
    ) -> None:
        """A trial is finished or failed; all that follow take so many seconds at most."""
        self._left = "" if left is None else f", at most {timedelta(seconds=round(left))} left"
        self._running.pop(record.trial.id, None)
        self._ended.append((record, objective))
        self._count(record, objective)
        if self._live is None:
            self.say(self._line(record, objective))

    def died(self, trial: Trial) -> None:
        """A worker has died; the trial may be run again."""
        self._running.pop(trial.id, None)
        if self._live is None:
            self.say(f"{trial.id}: its worker died")

    def _count(self, record: TrialRecord, objective: float | None) -> None:
        if not record.search:
            self._others += 1
            return
        self._searched += 1
        if objective is not None and record.state != State.ended_early:
            best = objective if self._best is None else self._best
            self._best = self._sign * min(self._sign * best, self._sign * objective)

    def say(self, line: str) -> None:
        """Show a line above the table."""
        self._console.print(verbatim(line), highlight=False, soft_wrap=True)

    def _line(self, record: TrialRecord, objective: float | None) -> str:
        if record.state == State.failed:
            return f"{record.trial.id} failed: {record.reason}"
        seconds = f" in {record.seconds:.1f} s" if record.seconds is not None else ""
        value = f" objective {objective:.4f}" if objective is not None else ""
        best = f" (best {self._best:.4f})" if self._best is not None and record.search else ""
        total = f"/{self._total}" if self._total else ""
        count = f"{self._searched}{total}" if record.search else f"{self._others}"
        return f"[{count}] {record.trial.id} {_state(record)}{value}{best}{seconds}{self._left}"

    def table(self) -> Table:
        """The trials that run now and the last that ended."""
        done = f"{self._searched}" + (f" of at most {self._total}" if self._total else "")
        checks = f", {self._others} others" if self._others else ""
        best = "" if self._best is None else f", best objective {self._best:.4f}"
        title = Text(f"{done} trials{checks}{best}{self._left}", style="table.title")
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
        for column in ("trial", "kind", "state"):
            table.add_column(column)
        for column in ("objective", "seconds"):
            table.add_column(column, justify="right")
        for record, objective in self._ended[-SHOWN:]:
            value = "" if objective is None else f"{objective:.4f}"
            seconds = "" if record.seconds is None else f"{record.seconds:.1f}"
            state = record.reason if record.state == State.failed else str(record.state)
            kind = record.trial.label or str(record.trial.kind)
            table.add_row(*map(verbatim, (record.trial.id, kind, state, value, seconds)))
        for trial, since in list(self._running.values()):
            passed = f"{time.monotonic() - since:.0f}"
            kind = trial.label or str(trial.kind)
            table.add_row(*map(verbatim, (trial.id, kind, "running", "", passed)))
        return table


def verbatim(text: str) -> Text:
    """Text from outside as it is: brackets are no markup, and a terminal's codes are dropped."""
    return Text(" ".join(Text.from_ansi(text).plain.split()))


def _state(record: TrialRecord) -> str:
    """The trial's kind, and its state where that is not the usual end."""
    usual = record.state == State.finished
    return str(record.trial.kind) if usual else f"{record.trial.kind} {record.state}"
