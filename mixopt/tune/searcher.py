"""A Ray Tune searcher for those who already have a Tuner and a trainable of their own."""

from __future__ import annotations

from collections import deque
from typing import Any

from ray.tune.search import Searcher

from mixopt.errors import MixoptError
from mixopt.space import Trial
from mixopt.study import Study


class MixoptSearcher(Searcher):
    """Proposes a study's trials to a Tuner, and tells the study what the Tuner's trials report.

    A round is proposed at once and handed out one by one; while its last trials run, ``suggest``
    asks Tune to wait. The trainable finds in its config ``trial`` (the study's id), ``schedule``,
    ``fidelity`` and ``seed`` as plain values, and must report every metric of the objective; a
    result key ``tokens`` says how far the trial has come. A trial that errors is stored as failed.

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
        self._running: dict[str, str] = {}

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
        self._running[trial_id] = trial.id
        return {
            "trial": trial.id,
            "schedule": trial.schedule.model_dump(mode="json"),
            "fidelity": trial.fidelity.model_dump(mode="json"),
            "seed": trial.seed,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        known = self._study.objective.metrics
        values = {m: float(result[m]) for m in known if m in result} if result else {}
        try:
            if error or not values:
                self._study.fail(
                    trial, "Tune reported an error" if error else "it reported nothing"
                )
            else:
                tokens = result.get("tokens") if result else None
                self._study.tell(trial, values, None if tokens is None else int(tokens))
        except MixoptError as refused:
            # Raising here would end the whole experiment for the fault of one trial.
            self._study.fail(trial, refused.message)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's storage has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: trials that were open are proposed again."""
