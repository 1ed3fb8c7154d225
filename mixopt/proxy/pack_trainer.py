"""Several trials in one process: proxies of one shape, each with its own mixture and seed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from mixopt.errors import TrialError
from mixopt.proxy.evaluate import mean_losses
from mixopt.proxy.pack import ProxyPack, pack_step
from mixopt.proxy.settings import ProxySettings
from mixopt.proxy.shape import architecture
from mixopt.proxy.speed import Products
from mixopt.proxy.step import adamw, autocast, cpu_threads
from mixopt.proxy.step_plan import plan_steps
from mixopt.proxy.trainer import RunCounts, TokenSource, TrialRun, memory_errors, observations_of
from mixopt.space import Report, Split, Trial


def packs(trials: Sequence[Trial], settings: ProxySettings, most: int) -> list[list[Trial]]:
    """Trials that can train side by side: of one shape, split and length, and at the same rates.

    Args:
        trials: To be run, in their order.
        settings: Of the proxy.
        most: Trials in a pack, at most.
    """
    alike: dict[object, list[list[Trial]]] = defaultdict(lambda: [[]])
    for trial in trials:
        groups = alike[likeness(trial, settings)]
        if len(groups[-1]) == most:
            groups.append([])
        groups[-1].append(trial)
    return [group for groups in alike.values() for group in groups]


def likeness(trial: Trial, settings: ProxySettings) -> object:
    """What trials must have in common to train side by side.

    Raises:
        TrialError: If the trial does not fit the settings.
    """
    plan = plan_steps(trial, settings)
    shape = architecture(trial.fidelity.parameters)
    return shape.model_dump_json(), trial.split, plan.sequences, plan.rates.tobytes()


class PackTrainer:
    """Trains the proxies of several trials side by side, each as it would train alone.

    Losses agree with those of `ProxyTrainer` within rounding. No trunk is taken or left: trials
    that share their beginning train it each.

    Args:
        corpus: Its tokens.
        settings: How to train.
        on_cpu: As `ProxyTrainer` takes it.

    Attributes:
        runs: The cost of each finished trial of the last pack, by its id; the time is shared.
    """

    def __init__(
        self,
        corpus: TokenSource,
        settings: ProxySettings | None = None,
        on_cpu: Products | None = None,
    ) -> None:
        self._corpus, self._on_cpu = corpus, on_cpu
        self.settings = settings or ProxySettings()
        self.runs: dict[str, RunCounts] = {}

    def run(self, trials: Sequence[Trial], report: Report) -> dict[str, TrialError]:
        """Train, reporting each trial's nats/token per domain at every rung.

        Args:
            trials: One pack, as `packs` makes it.
            report: Takes the observations of one trial and rung at a time.

        Returns:
            Why trials failed, by their ids; the others went on.

        Raises:
            TrialError: If the trials cannot train side by side, or do not fit the memory.
            CorpusError: As `ProxyTrainer.run`.
        """
        if len(packs(trials, self.settings, len(trials))) != 1:
            raise TrialError(
                "trials of one pack must have one size, one split and the same learning rates; "
                f"got {', '.join(t.id for t in trials)}",
                "group them with `packs`",
            )
        start = time.monotonic()
        with cpu_threads(self.settings.threads), memory_errors(trials[0]):
            given = self._corpus, self.settings, None, self._on_cpu
            work = _PackRun([TrialRun(t, *given) for t in trials])
            work.train(report)
        seconds = (time.monotonic() - start) / len(trials)
        self.runs = {r.trial.id: r.counts(reused=0, seconds=seconds) for r in work.alive}
        return work.failed


class _PackRun:
    """The state of a pack, moved on step by step; a trial that fails is no longer looked at."""

    def __init__(self, runs: Sequence[TrialRun]) -> None:
        self.runs, self.failed = runs, dict[str, TrialError]()
        first = runs[0]
        self.plan, self.settings, self.device = first.plan, first.settings, first.device
        self.dtype, self.split = first.dtype, first.split
        self.pack = ProxyPack([run.model for run in runs])
        self.optimizer = adamw(self.pack, self.settings)

    @property
    def alive(self) -> list[TrialRun]:
        """Trials that have not failed."""
        return [run for run in self.runs if run.trial.id not in self.failed]

    def train(self, report: Report) -> None:
        """Train to the end, or until every trial has failed."""
        for step in range(self.plan.steps):
            self._advance(step)
            if step + 1 in self.plan.rungs:
                self._measure(self.split, report)
            if not self.alive:
                return
        if self.split != Split.validation:
            self._measure(Split.validation, report)

    def _advance(self, step: int) -> None:
        batches = np.stack([run.next_batch() for run in self.runs])
        ids = torch.from_numpy(batches).to(self.device)
        losses = pack_step(
            self.pack, self.optimizer, ids, float(self.plan.rates[step]), self.settings.clip,
            self.dtype,
        )  # fmt: skip
        for run, loss in zip(self.runs, losses.unbind(), strict=True):
            try:
                run.stepped(loss)
            except TrialError as error:
                self.failed.setdefault(run.trial.id, error)

    def _measure(self, split: Split, report: Report) -> None:
        windows = self.runs[0].windows_of(split)
        with autocast(self.device, self.dtype):
            means = mean_losses(self.pack.losses, windows, self.settings.batch)
        tokens = self.plan.tokens_after(self.runs[0].step)
        for k, run in enumerate(self.runs):
            if run not in self.alive:
                continue
            try:
                values = run.finite({domain: float(mean[k]) for domain, mean in means.items()})
            except TrialError as error:
                self.failed[run.trial.id] = error
                continue
            run.measured_at_rung(values)
            report(observations_of(run.trial, tokens, values, split))
