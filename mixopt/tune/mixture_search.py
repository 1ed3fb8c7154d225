"""The searcher that hands a study's trials to a Tuner: that of ``mixopt run``, or one's own."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from mixopt.errors import MixoptError
from mixopt.space import Schedule, Trial
from mixopt.study import Study
from mixopt.study.trainers import rung_observations
from mixopt.tune.driver import Driver, require_stored

# Keys of a config: the trial's id, the trials that are trained side by side with it, and whether a
# worker has no trial yet and waits for the proposals.
TRIAL, PACK, WAITS = "trial", "pack", "waits"


def config_of(trial: Trial) -> dict[str, Any]:
    """A trial as a Tuner's config: plain values, its id under ``trial``."""
    facts = trial.model_dump(mode="json")
    return {TRIAL: facts.pop("id"), **facts}


def trial_of(config: Mapping[str, Any]) -> Trial:
    """The trial of a Tuner's config."""
    known = {name: config[name] for name in Trial.model_fields if name in config}
    return Trial.model_validate({**known, "id": config[TRIAL]})


def trials_of(config: Mapping[str, Any]) -> list[Trial]:
    """The trial of a config, and those trained side by side with it; none where a worker waits."""
    facts = () if WAITS in config else (config, *config.get(PACK, ()))
    return [trial_of(each) for each in facts]


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a trainable is to train: ``mixopt.tune.schedule_of(config)``."""
    return Schedule.model_validate(config["schedule"])


class MixtureSearch(Searcher):
    """Proposes a study's trials to a Tuner, and tells the study what the Tuner's trials report.

    The trainable finds in its config ``trial`` (the study's id), ``schedule`` (see `schedule_of`),
    ``fidelity`` and ``seed`` as plain values, and must report every metric of the objective. The
    result key ``tokens`` says how far the trial has come: one that reports more than once, or that
    a scheduler such as ASHA may stop, must report it. A trial that is stopped below its fidelity's
    tokens is stored as ended early: its rungs are kept, and are not taken for its end. A trial that
    errors is stored as failed.

    Proposals are made in a thread, and Tune asks again meanwhile. Where the study rolls
    (``batch="rolling"``) the next trial is proposed as soon as Tune has a free slot, else a round
    at a time. Give the Tuner ``num_samples=-1``: the study knows when it is over.

    ``Tuner.restore`` goes on with the study as it is in its storage: trials that Tune runs again
    keep their weights and seed, and those that Tune has forgotten are handed out again.

    Args:
        study: Where trials come from and results go. The pickle that Tune keeps for a restore names
            its storage, password included.

    Raises:
        StudyError: If the study is in memory.
    """

    def __init__(self, study: Study) -> None:
        self._open(require_stored(study))

    def _open(self, study: Study) -> None:
        # The study looks at its own objective; naming a metric keeps Tune from asking for another.
        name = next(iter(study.objective.weights))
        mode = "max" if study.objective.kind_of(name).maximized else "min"
        Searcher.__init__(self, metric=name, mode=mode)
        self._beside = ThreadPoolExecutor(1)
        self._take(Driver(study, rounds=True, ahead=self._ahead))

    def _take(self, driver: Driver) -> None:
        self._driver, self._study = driver, driver.study
        self._running: dict[str, Trial] = {}
        self._reports: dict[str, int] = {}
        self._leases = ExitStack()
        self._begun, self._keeps = False, True

    @classmethod
    def over(cls, driver: Driver) -> MixtureSearch:
        """The searcher of a run that leases its trials and keeps their results by itself."""
        search = cls.__new__(cls)
        Searcher.__init__(search, metric=TRIAL, mode="min")
        search._take(driver)
        search._begun, search._keeps = True, False
        return search

    def __getstate__(self) -> dict[str, Any]:
        """Where the study is: a storage cannot be pickled, and is opened again."""
        return {"storage": self._study.store.address, "name": self._study.name}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        study = Study.open(state["storage"], state["name"], read_only=False)
        self._open(study)

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

    # Handing out

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of the next trial.

        Returns:
            None while one is being proposed, or the last ones of a round run; ``FINISHED`` when
            the study stops. In ``mixopt run`` a worker waits where a round is being proposed: it
            is there, with all that it loads, when the round begins.
        """
        driver = self._driver
        if not self._begun:
            self._begun = True
            self._leases.enter_context(driver.leasing())
        try:
            trial = None if driver.error else driver.next_trial()
        except MixoptError as error:
            # Raised here it would reach the user as an error of Tune.
            driver.error, trial = error, None
        if trial is not None:
            self._running[trial_id] = trial
            beside = [config_of(t) for t in driver.companions(trial)]
            return {**config_of(trial), **({PACK: beside} if beside else {})}
        if driver.over:
            if driver.error is not None:
                logging.getLogger("mixopt.tune").warning(str(driver.error))
            self._leases.close()
            return Searcher.FINISHED  # type: ignore[return-value]
        waits = driver.waits and not self._keeps
        return {TRIAL: f"waits-{trial_id}", WAITS: True} if waits else None

    def _ahead(self) -> Future[Sequence[Trial]]:
        return self._beside.submit(self._more)

    def _more(self) -> Sequence[Trial]:
        """Trials that are open and nobody's, else newly proposed ones; none at the end."""
        study, driver = self._study, self._driver
        state = study.state()
        left = [r.trial for r in state.open_search if not driver.has(r.trial.id)]
        if left:
            return left
        if state.open_search:
            return study.propose_beside()
        if study.close_search() is not None:
            return []
        study.propose()
        return [r.trial for r in study.state().open_search]

    # Keeping

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a rung of a trial that goes on."""
        trial = self._trial(trial_id, result)
        if trial is None:
            return
        self._reports[trial_id] = self._reports.get(trial_id, 0) + 1
        tokens, values = _tokens(result), self._values(result)
        if tokens is None or not values:
            return
        try:
            self._driver.reached(trial.id, rung_observations(trial, {**values, "tokens": tokens}))
        except MixoptError as refused:
            self._end(trial_id, trial, refused.message)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        result = result or {}
        trial = self._trial(trial_id, result)
        if trial is None:
            return
        values, tokens = self._values(result), _tokens(result)
        if error or not values:
            self._end(trial_id, trial, "Tune reported an error" if error else "it reported nothing")
        elif tokens is None and self._reports.get(trial_id, 0) > 1:
            self._end(
                trial_id,
                trial,
                "it reported several results without `tokens`, so its end cannot be told from a "
                "stop by a scheduler",
            )
        else:
            self._finish(trial_id, trial, values, tokens)

    def _finish(
        self, trial_id: str, trial: Trial, values: dict[str, float], tokens: int | None
    ) -> None:
        at = trial.fidelity.tokens if tokens is None else tokens
        try:
            self._driver.reached(trial.id, rung_observations(trial, {**values, "tokens": at}))
            self._end(trial_id, trial, "")
        except MixoptError as refused:
            self._end(trial_id, trial, refused.message)

    def _end(self, trial_id: str, trial: Trial, reason: str) -> None:
        # Raising instead would end the whole experiment for the fault of one trial.
        self._driver.ended(trial.id, reason, None)
        self._running.pop(trial_id, None)

    def _trial(self, trial_id: str, result: Mapping[str, Any]) -> Trial | None:
        """The study's trial behind one of Tune's; after a restore its config tells."""
        if not self._keeps:
            return None
        if trial_id not in self._running and TRIAL in result.get("config", {}):
            self._hold(trial_id, trial_of(result["config"]))
        return self._running.get(trial_id)

    def _hold(self, trial_id: str, trial: Trial) -> None:
        if self._driver.take(trial):
            self._running[trial_id] = trial

    def _values(self, result: Mapping[str, Any]) -> dict[str, float]:
        return {m: float(result[m]) for m in self._study.objective.metrics if m in result}

    # Tuner.restore

    def save(self, checkpoint_path: str) -> None:
        """Keep which trials Tune runs; all else is in the study's storage."""
        facts = {name: config_of(trial) for name, trial in self._running.items()}
        text = json.dumps({"running": facts, "reports": self._reports})
        Path(checkpoint_path).write_text(text, encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take the trials that Tune runs again; the study hands out whatever else is open."""
        facts = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        self._reports = dict(facts["reports"])
        for trial_id, config in facts["running"].items():
            self._hold(trial_id, trial_of(config))


def _tokens(result: Mapping[str, Any]) -> int | None:
    return None if result.get("tokens") is None else int(result["tokens"])
