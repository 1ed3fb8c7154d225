"""Rounds against rolling proposals where trials take unlike times.

Eight slots, 64 trials, times drawn from a lognormal distribution (sigma .7). The clock is
simulated, with proposals that take no time; the proposals are the product's own, which choose among
the rows of RegMix that were not tried. The ways: rounds of eight, rounds whose next proposals
start beside a late trial (later than twice the median time), and rolling, where each slot that
becomes free gets the next proposal, with the trials in flight as pending, once three quarters of
the first round are over, or two trials.

    python benchmarks/rolling.py --repeats 20 --json benchmarks/results/rolling.json
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from kept_studies import keep_studies, read_studies
from numpy.typing import NDArray

from mixopt.bench.designs import design_rows
from mixopt.bench.tables import BenchTable, load_table
from mixopt.propose import Evidence, propose_batch
from mixopt.space import Mixture, Objective, Schedule, SearchSpace, geometry_of
from mixopt.study.rounds import ROLLS_FROM
from mixopt.surrogate import fit_surrogate

SLOTS, TRIALS, ROUND, SIGMA, LATE = 8, 64, 8, 0.7, 2.0
METRIC = "pile_cc"


@dataclass
class Replay:
    """One study on a simulated clock.

    Attributes:
        pool: The rows that can be tried.
        seed: Of proposals and times.
        blind: Whether any rows will do, where only the slots' time is looked at.
        finished: Rows in the order in which their trials ended.
        running: End, start and row of the trials in flight.
        waiting: Rows proposed and not started.
        now: Time, in median trials.
        spans: Start and end of each trial.
        lengths: Times of the trials that ended.
    """

    pool: BenchTable
    seed: int
    blind: bool = False
    finished: list[int] = field(default_factory=list)
    running: list[tuple[float, float, int]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    now: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.times: NDArray[np.float64] = rng.lognormal(0.0, SIGMA, TRIALS)
        self.waiting = [int(i) for i in design_rows("maxmin", self.pool.X, ROUND, self.seed)]
        self.proposed = len(self.waiting)
        self.space = SearchSpace(
            domains=self.pool.domains, baseline=Mixture.uniform(self.pool.domains)
        )

    def start(self) -> None:
        """Give free slots to the trials that wait."""
        while self.waiting and len(self.running) < SLOTS:
            number = len(self.finished) + len(self.running)
            length = float(self.times[number])
            heapq.heappush(self.running, (self.now + length, self.now, self.waiting.pop(0)))
            self.spans.append((self.now, self.now + length))

    def go_on(self) -> None:
        """Move on to the next end of a trial, or to the moment at which one is late."""
        if self.lengths and not self.waiting and len(self.running) < SLOTS:
            late = min(began for _, began, _ in self.running) + self.patience
            if self.now < late < self.running[0][0]:
                self.now = late
                return
        self.now, began, row = heapq.heappop(self.running)
        self.lengths.append(self.now - began)
        self.finished.append(row)

    def propose(self, wanted: int) -> None:
        """The next rows, with those in flight as pending."""
        q = min(wanted, TRIALS - self.proposed)
        if q < 1:
            return
        if self.blind:
            self.waiting += range(self.proposed, self.proposed + q)
            self.proposed += q
            return
        pool, metric = self.pool, self.pool.metrics.index(METRIC)
        X, Y = pool.X[self.finished], pool.Y[self.finished][:, [metric]]
        geometry = geometry_of(self.space)
        seed = 1000 * self.seed + self.proposed
        model = fit_surrogate(geometry.layout, X, Y, (METRIC,), pool.domains, seed=seed)
        seen = Evidence(X, Y, (METRIC,), tuple(map(str, range(len(X)))))
        pending = [row for _, _, row in self.running] + self.waiting
        left = np.setdiff1d(np.arange(len(pool)), [*self.finished, *pending])
        rows = pool.X[left]
        schedules = [
            Schedule.static(Mixture.from_array(pool.domains, pool.X[row])) for row in pending
        ]
        batch = propose_batch(
            self.space, Objective(weights={METRIC: 1.0}), model, seen, q,
            pending=schedules, seed=seed, candidates=rows,
        )  # fmt: skip
        # Decoded schedules are rounded, so each is the row next to it.
        taken = [int(np.abs(rows - geometry.encode(s)).sum(1).argmin()) for s in batch]
        self.waiting += [int(left[i]) for i in taken]
        self.proposed += q

    @property
    def patience(self) -> float:
        """How long a trial may run before it is late."""
        return LATE * float(np.median(self.lengths))

    @property
    def late(self) -> bool:
        """Whether a trial runs longer than that."""
        oldest = min((began for _, began, _ in self.running), default=self.now)
        return self.now - oldest >= self.patience - 1e-9


def in_rounds(replay: Replay) -> None:
    """A round is proposed when the one before it is over."""
    if not replay.running and not replay.waiting:
        replay.propose(ROUND)


def in_rounds_with_stragglers(replay: Replay) -> None:
    """The same, but a slot that is idle while a trial is late gets the next proposal."""
    if not replay.waiting and replay.running and replay.late:
        replay.propose(SLOTS - len(replay.running))
    else:
        in_rounds(replay)


def rolling_from(least: float) -> Callable[[Replay], None]:
    """A trial is proposed as soon as a slot is free, once so many have finished."""

    def way(replay: Replay) -> None:
        if not replay.waiting and len(replay.finished) >= least:
            replay.propose(SLOTS - len(replay.running))

    return way


WAYS: dict[str, Callable[[Replay], None]] = {
    "rounds": in_rounds,
    "rounds, stragglers": in_rounds_with_stragglers,
    "rolling": rolling_from(ROLLS_FROM * ROUND),
    "rolling from two": rolling_from(2),
}


def replayed(pool: BenchTable, way: str, seed: int, blind: bool) -> Replay:
    """One study from its first trial to its last."""
    replay = Replay(pool, seed, blind)
    replay.start()
    while replay.running:
        replay.go_on()
        WAYS[way](replay)
        replay.start()
    return replay


def idle_until(run: Replay, moment: float) -> float:
    """Share of the slots' time up to a moment in which they had no trial."""
    busy = sum(max(min(end, moment) - start, 0.0) for start, end in run.spans)
    return 1 - busy / (SLOTS * moment)


def idle(pool: BenchTable, way: str, repeats: int) -> dict[str, object]:
    """Share of the slots' time in which they had no trial, and the time of 64 trials."""
    runs = [replayed(pool, way, seed, blind=True) for seed in range(repeats)]
    whole = np.array([idle_until(run, run.now) for run in runs])
    # A fixed number of trials ends with slots that have nothing left to do, whatever the way.
    before = np.array([idle_until(run, max(start for start, _ in run.spans)) for run in runs])
    return {
        "way": way,
        "repeats": repeats,
        "idle": float(whole.mean()),
        "idle_se": float(whole.std(ddof=1) / np.sqrt(repeats)),
        "idle_until_the_last_start": float(before.mean()),
        "idle_until_the_last_start_se": float(before.std(ddof=1) / np.sqrt(repeats)),
        "time": float(np.mean([run.now for run in runs])),
    }


def study(pool: BenchTable, way: str, seed: int) -> dict[str, Any]:
    """The regret after each number of finished trials."""
    replay = replayed(pool, way, seed, blind=False)
    true = pool.Y[:, pool.metrics.index(METRIC)]
    regret = np.minimum.accumulate(true[replay.finished]) - true.min()
    return {
        "way": way,
        "seed": seed,
        "regret": [round(float(regret[n - 1]), 5) for n in (16, 24, 32, 48, 64)],
        "mean_regret": float(regret[ROUND:].mean()),
    }


def main() -> None:
    """Print a line per way, and keep all studies if asked: after each one, as they take long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="studies per way; 0: slots alone")
    parser.add_argument("--json", type=Path, help="slots and studies; goes on with a file")
    given = parser.parse_args()
    pool = load_table("regmix").densest()
    slots = [idle(pool, way, 200) for way in WAYS]
    for row in slots:
        print(row, flush=True)
    rows = read_studies(given.json)
    done = {(row["way"], row["seed"]) for row in rows}
    for seed, way in product(range(given.repeats), WAYS):
        if (way, seed) not in done:
            rows.append(study(pool, way, seed))
            keep_studies(given.json, rows, slots=slots)
    for way in WAYS if rows else ():
        mine = [row for row in rows if row["way"] == way]
        values = np.array([row["mean_regret"] for row in mine], dtype=float)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        print(f"{way:20} mean regret {values.mean():.4f} +- {error:.4f}, at 16, 24, 32, 48, 64:")
        print(np.mean([row["regret"] for row in mine], axis=0).round(4).tolist())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
