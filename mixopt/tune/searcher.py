"""A Ray Tune searcher for those who already have a Tuner and a trainable of their own."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from ray.tune.search import Searcher

from mixopt.errors import MixoptError
from mixopt.space import Trial
from mixopt.study import Study
from mixopt.study.trainers import rung_observations


class MixoptSearcher(Searcher):
    """Proposes a study's trials to a Tuner, and tells the study what the Tuner's trials report.

    A round is proposed at once and handed out one by one; while its last trials run, ``suggest``
    asks Tune to wait. The trainable finds in its config ``trial`` (the study's id), ``schedule``,
    ``fidelity`` and ``seed`` as plain values, and must report every metric of the objective. The
    result key ``tokens`` says how far the trial has come: one that reports more than once, or that
    a scheduler such as ASHA may stop, must report it. A trial that is stopped below its fidelity's
    tokens is stored as ended early, and not learned from. A trial that errors is stored as failed.

    For runs that must survive ``kill -9`` use ``run_rounds``: Tune tells a searcher of a result
    only after it was reported, and forgets what it has not written.

    Args:
        study: Where trials come from and results go.
    """

    def __init__(self, study: Study) -> None:
        # The study minimises; naming a metric keeps Tune from asking for another.
        super().__init__(metric=next(iter(study.objective.weights)), mode="min")
        self._study = study
        self._waiting: deque[Trial] = deque()
        self._running: dict[str, Trial] = {}
        self._reports: dict[str, int] = {}

    def set_search_properties(
        self,
        metric: str | None,
        mode: str | None,
        config: dict[str, Any],
        **spec: Any,
    ) -> bool:
        """The study says what is minimised and over what; a Tuner may not say otherwise."""
        del spec
        if config:
            raise MixoptError(
                f"the study proposes the whole config, but the Tuner has a param_space of its own: "
                f"{sorted(config)}",
                "pass fixed values with tune.with_parameters",
            )
        return metric in (None, self.metric) and mode in (None, "min")

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial of the round.

        Returns:
            Its config; None while the round's last trials run; ``FINISHED`` when the study stops.
        """
        if not self._waiting and not self._running:
            if self._study.close_search() is not None:
                return Searcher.FINISHED  # type: ignore[return-value]
            self._waiting.extend(self._study.ask())
            if not self._waiting:
                return Searcher.FINISHED  # type: ignore[return-value]
        if not self._waiting:
            return None
        trial = self._waiting.popleft()
        self._running[trial_id] = trial
        return {
            "trial": trial.id,
            "schedule": trial.schedule.model_dump(mode="json"),
            "fidelity": trial.fidelity.model_dump(mode="json"),
            "seed": trial.seed,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a rung of a trial that goes on."""
        trial = self._running.get(trial_id)
        if trial is None:
            return
        self._reports[trial_id] = self._reports.get(trial_id, 0) + 1
        tokens, values = _tokens(result), self._values(result)
        if tokens is None or not values:
            return
        try:
            self._study.heartbeat(trial.id)
            self._study.record(trial.id, rung_observations(trial, {**values, "tokens": tokens}))
        except MixoptError as refused:
            self._give_up(trial_id, refused.message)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        trial = self._running.get(trial_id)
        if trial is None:
            return
        values = self._values(result or {})
        if error or not values:
            self._give_up(trial_id, "Tune reported an error" if error else "it reported nothing")
            return
        tokens = _tokens(result or {})
        if tokens is None and self._reports.get(trial_id, 0) > 1:
            self._give_up(
                trial_id,
                "it reported several results without `tokens`, so its end cannot be told from a "
                "stop by a scheduler",
            )
            return
        try:
            self._study.tell(trial.id, values, tokens)
            del self._running[trial_id]
        except MixoptError as refused:
            self._give_up(trial_id, refused.message)

    def _values(self, result: dict[str, Any]) -> dict[str, float]:
        return {m: float(result[m]) for m in self._study.objective.metrics if m in result}

    def _give_up(self, trial_id: str, reason: str) -> None:
        # Raising instead would end the whole experiment for the fault of one trial.
        with suppress(MixoptError):
            self._study.fail(self._running.pop(trial_id).id, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's storage has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: trials that were open are proposed again."""


def _tokens(result: dict[str, Any]) -> int | None:
    return None if result.get("tokens") is None else int(result["tokens"])
