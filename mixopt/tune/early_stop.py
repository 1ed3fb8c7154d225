"""The scheduler that ends trials early: that of ``mixopt run``, or in a Tuner of one's own."""

# Tune fixes the signatures.
# ruff: noqa: ARG002

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler

from mixopt.errors import MixoptError
from mixopt.space import Observation, Trial
from mixopt.study import Study
from mixopt.study.run_trial import why_at
from mixopt.study.trainers import rung_observations
from mixopt.tune.driver import require_stored
from mixopt.tune.mixture_search import TRIAL, trials_of
from mixopt.tune.trainable import ENDS, ROWS

Say = Callable[[str], None]


class EarlyStop(FIFOScheduler):
    """Ends trials that cannot become the best, or whose rest is not worth its tokens.

    It goes with `MixtureSearch` in a Tuner. A trial is judged at each result that has every metric
    of the objective and ``tokens``, by the other trials of the study that reported at the same
    tokens; two of them are needed (see ``mixopt.study.early_ends``). A trial that it ends is
    learned from by its predicted end.

    Args:
        study: Whose trials the Tuner runs.
        say: Told of each trial that ends, and why; None to log it.

    Raises:
        StudyError: If the study is in memory.
    """

    def __init__(self, study: Study, say: Say | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._study = require_stored(study)
        self._say = say or logging.getLogger("mixopt.tune").info

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._study,)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on after a rung.

        Raises:
            MixoptError: If the trial is none of a study's.
        """
        if TRIAL not in trial.config:
            raise MixoptError(
                "EarlyStop judges the trials that MixtureSearch proposes; this one has no study",
                "give the Tuner search_alg=MixtureSearch(study)",
            )
        trials = trials_of(trial.config)
        # Trials that are trained in one loop cannot end alone, and a worker that waits has none.
        if len(trials) != 1 or ENDS in result:
            return FIFOScheduler.CONTINUE
        try:
            reason = why_at(self._study, trials[0], self._rung(trials[0], result))
        except MixoptError:
            # What is wrong with the result shows when it is kept.
            return FIFOScheduler.CONTINUE
        if reason is None:
            return FIFOScheduler.CONTINUE
        self._say(f"{trials[0].id} ends early: {reason}")
        return FIFOScheduler.STOP

    def _rung(self, trial: Trial, result: dict[str, Any]) -> Sequence[Observation]:
        """What a result says, if it says at how many tokens."""
        if ROWS in result:
            return [Observation(**row) for row in json.loads(result[ROWS])]
        if result.get("tokens") is None:
            return []
        values = {m: result[m] for m in self._study.objective.metrics if m in result}
        return rung_observations(trial, {**values, "tokens": result["tokens"]})
