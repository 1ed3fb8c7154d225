"""A study that a service holds, with the same ask, tell and recommend as one that is open here."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from mixopt.errors import StorageError, StudyError
from mixopt.service.codes import error_class
from mixopt.service.messages import TrialDetail, TrialPage
from mixopt.space import Fidelity, Objective, Observation, Schedule, SearchSpace, Trial
from mixopt.study.config import StudyConfig
from mixopt.study.storage import State, TrialRecord, this_worker

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study.results.recording import Attachment, Told

#: Between looks at what the service still computes.
POLL_SECONDS = 0.5
#: Longest pause between two tries.
LONGEST_PAUSE = 30.0
#: Finished runs in one request: of 200 domains in two phases they fit into its body.
RUNS = 200
_AGAIN = (429, 500, 502, 503, 504)


def connect(url: str, token: str | None = None, *, patience: float = 300.0) -> Service:
    """A service, which is asked when its studies are.

    Args:
        url: Of the service, ``http://127.0.0.1:8417`` say.
        token: Of ``mixopt token create``; None for the variable ``MIXOPT_TOKEN``, if it is set.
        patience: Seconds over which a request that the service cannot answer is sent again.
    """
    secret = token or os.environ.get("MIXOPT_TOKEN")
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return Service(httpx2.Client(base_url=url, headers=headers, timeout=60.0), patience)


class Service:
    """The studies of a service.

    Args:
        http: Where requests go.
        patience: Seconds over which a request that cannot be answered is sent again.
    """

    def __init__(self, http: httpx2.Client, patience: float = 300.0) -> None:
        self._http = http
        self._patience = patience

    def close(self) -> None:
        """Give back every connection."""
        self._http.close()

    def study(self, name: str) -> ServedStudy:
        """One study.

        Raises:
            NotFoundError: If there is none of that name.
        """
        study = ServedStudy(self, name)
        study.info()
        return study

    def studies(self, *, archived: bool = False) -> list[dict[str, Any]]:
        """Every study with its number of trials per state."""
        rows: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            found = self.get("/v1/studies", after=after, archived=archived)
            rows += found["studies"]
            after = found["next"]
        return rows

    def create(self, study: str | Path | Mapping[str, Any]) -> ServedStudy:
        """Make a study from a YAML file, or from the same as a mapping; the same twice is one.

        Raises:
            SpaceError: Naming the place of what is wrong.
            ConflictError: If there is one of that name with another configuration.
        """
        if isinstance(study, Mapping):
            made = self.post("/v1/studies", json.dumps(study), "application/json")
        else:
            made = self.post("/v1/studies", Path(study).read_text("utf-8"), "application/yaml")
        return ServedStudy(self, made["name"])

    # Requests

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of what is read."""
        return self.wait("GET", path, **query)

    def wait(self, method: str, path: str, **query: Any) -> Any:
        """The JSON of an answer, once it is there."""
        return self._later(method, path, params=query).json()

    def post(self, path: str, body: str, kind: str = "application/json") -> Any:
        """The JSON of the answer to a body."""
        return self._sent("POST", path, content=body, headers={"Content-Type": kind}).json()

    def content(self, path: str, **query: Any) -> bytes:
        """The bytes of an answer, once it is there."""
        return self._later("GET", path, params=query).content

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> Any:
        """The JSON of an answer; None for 204."""
        answer = self._sent(method, path, patience, json=body)
        return answer.json() if answer.content else None

    def _later(self, method: str, path: str, **how: Any) -> httpx2.Response:
        while True:
            answer = self._sent(method, path, **how)
            if answer.status_code != 202:
                return answer
            time.sleep(POLL_SECONDS)

    def _sent(
        self, method: str, path: str, patience: float | None = None, **how: Any
    ) -> httpx2.Response:
        """An answer that is no problem; what may pass is tried again."""
        for pause in _pauses(self._patience if patience is None else patience):
            try:
                answer = self._http.request(method, path, **how)
            except httpx2.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code not in _AGAIN:
                    return _good(answer)
                trouble = _problem(answer).get("detail", answer.reason_phrase)
            if pause is not None:
                time.sleep(pause)
        raise StorageError(
            f"the service at {self._http.base_url} cannot answer: {trouble}",
            "check that it runs and can be reached from here",
        )


def _pauses(patience: float) -> Iterator[float | None]:
    """Growing pauses with some chance in them, so that workers do not come back all at once."""
    end, pause = time.monotonic() + patience, 0.1
    while time.monotonic() + pause < end:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE)
    yield None


def _problem(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _good(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_success:
        return answer
    found = _problem(answer)
    detail = found.get("detail", f"the service answered {answer.status_code}")
    kind = error_class(found.get("code", ""))
    raise kind(detail, found.get("hint", ""), found.get("field", ""))


class ServedStudy:
    """Ask for trials, tell their results, and get a recommendation, over HTTP.

    Args:
        service: Holds the study.
        name: Of the study.
    """

    def __init__(self, service: Service, name: str) -> None:
        self._service = service
        self.name = name
        self._path = f"/v1/studies/{name}"
        self._leases: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"ServedStudy({self.name!r})"

    def close(self) -> None:
        """Give back every connection."""
        self._service.close()

    # What is stored

    def info(self) -> dict[str, Any]:
        """Configuration, settings, trials per state, spending."""
        found: dict[str, Any] = self._service.get(self._path)
        return found

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return SearchSpace.model_validate(self.info()["config"]["space"])

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return Objective.model_validate(self.info()["config"]["objective"])

    @property
    def fidelity(self) -> Fidelity:
        """Of the trials; the highest where they differ."""
        return Fidelity.model_validate(self.info()["config"]["fidelity"])

    @property
    def stop_reason(self) -> str | None:
        """Why the search is over; None while it goes on."""
        while True:
            found = self.info()
            if not found["proposing"]:
                reason: str | None = found["stop_reason"]
                return reason
            time.sleep(POLL_SECONDS)

    @property
    def config(self) -> StudyConfig:
        """What its results depend on."""
        return StudyConfig.model_validate(self.info()["config"])

    def records(self) -> list[TrialRecord]:
        """Every trial with its state, in the order in which they were proposed."""
        return [record for record, _ in self.trials()]

    def trials(self) -> list[tuple[TrialRecord, float | None]]:
        """Every trial with its state and objective, in the order in which they were proposed."""
        rows: list[tuple[TrialRecord, float | None]] = []
        after: int | None = -1
        while after is not None:
            found = self._service.get(f"{self._path}/trials", after=after, limit=1000)
            page = TrialPage.model_validate(found)
            rows += [(r, page.objectives.get(r.trial.id)) for r in page.trials]
            after = page.next
        return rows

    def record_of(self, trial: str) -> TrialRecord:
        """One trial with its state.

        Raises:
            NotFoundError: If the study has none of that id.
        """
        return TrialDetail.model_validate(self._service.get(self._of(trial))).record

    # Ask

    def ask(
        self,
        n: int | None = None,
        *,
        worker: str | None = None,
        lease_seconds: float = 600.0,
    ) -> list[Trial]:
        """Trials to run next, leased to this object; as ``Study.ask``.

        Waits while the service makes proposals, and returns none where others run all that is open.
        """
        if n is not None and n < 1:
            raise StudyError(
                f"ask needs a whole number of trials, at least one; got n = {n!r}", "leave n out"
            )
        who = worker or this_worker()
        held = [r.trial for r in map(self.record_of, self._leases) if r.open] if n is None else []
        # A request that is sent again finds what the first one was given.
        wish = {"n": n or 1000, "worker": who, "lease_seconds": lease_seconds}
        while True:
            found = self._send("/trials:ask", {**wish, "key": uuid.uuid4().hex})
            if found["waiting"] != "proposals":
                break
            time.sleep(POLL_SECONDS)
        self._leases.update({t["trial"]["id"]: t["lease"] for t in found["trials"]})
        return [*held, *(Trial.model_validate(t["trial"]) for t in found["trials"])]

    def lease_of(self, trial: str) -> str | None:
        """The name of the lease that this object holds of a trial; None for none."""
        return self._leases.get(trial)

    def heartbeat(self, trial: str, lease_seconds: float = 600.0) -> None:
        """Prolong the lease of a trial that this object holds to so many seconds from now.

        Raises:
            StudyError: If it holds none.
            LeaseError: If the lease was lost.
        """
        if trial not in self._leases:
            raise StudyError(f"this process holds no lease of trial {trial!r}", "ask for it first")
        beat = {"lease": self._leases[trial], "lease_seconds": lease_seconds}
        # The next beat is the next try: one that is late must not hold up the end of the trial.
        self._service.send("POST", f"{self._of(trial)}:heartbeat", beat, patience=0.0)

    def release(self, trial: str) -> bool:
        """Let a trial that this object holds wait again; False if it does not hold it any more."""
        lease = self._leases.pop(trial, None)
        if lease is None:
            return False
        done: bool = self._send(f"/trials/{trial}:release", {"lease": lease})["released"]
        return done

    # Tell

    def tell(self, trial: str, values: Told, tokens: int | None = None) -> State:
        """Store a trial's results and end it; as ``Study.tell``."""
        if isinstance(values, Mapping):
            told: dict[str, Any] = {"values": {m: _finite(trial, m, v) for m, v in values.items()}}
        else:
            told = {"observations": _rungs(trial, values)}
        body = {**self._lease(trial), **told, "tokens": tokens}
        state = State(self._send(f"/trials/{trial}:tell", body)["state"])
        self._leases.pop(trial, None)
        return state

    def record(self, trial: str, values: Sequence[Observation]) -> None:
        """Store rungs of a trial that goes on; ``finish`` or ``tell`` ends it."""
        rungs = {"observations": _rungs(trial, values)}
        self._send(f"/trials/{trial}:report", {**self._lease(trial), **rungs})

    def finish(self, trial: str) -> None:
        """End a trial whose rungs are all recorded."""
        self.tell(trial, [])

    def fail(self, trial: str, reason: str) -> None:
        """Store that a trial failed, and why; it is not run again unless requeued."""
        self._send(f"/trials/{trial}:fail", {**self._lease(trial), "reason": reason})
        self._leases.pop(trial, None)

    def attach_all(self, runs: Sequence[Attachment]) -> int:
        """Add finished runs, which the study learns from; as ``Study.attach_all``.

        All or none of those that fit into one request are added; doing it again does nothing.
        """
        new = 0
        for k in range(0, len(runs), RUNS):
            body = [
                {
                    "id": trial.id,
                    "schedule": trial.schedule.model_dump(mode="json"),
                    "fidelity": trial.fidelity.model_dump(mode="json"),
                    "values": {row.metric: row.value for row in rows},
                }
                for trial, rows in runs[k : k + RUNS]
            ]
            new += self._send("/trials:attach", {"runs": body})["new"]
        return new

    # What it concludes

    def recommend(self) -> Recommendation:
        """What to train on, with its uncertainty; waits until the service has computed it.

        Raises:
            StudyError: If fewer than two trials are finished.
        """
        from mixopt.propose import Recommendation

        return Recommendation.model_validate_json(self._content("/recommendation"))

    def confirm(self) -> int:
        """Add confirmation runs of the recommendation; returns how many ``ask`` will hand out."""
        added: int = self._service.wait("POST", f"{self._path}/recommendation:confirm")["added"]
        return added

    def report(self) -> bytes:
        """The report, one HTML file."""
        return self._content("/report")

    def file(self) -> bytes:
        """The whole study as a file of its own, which every verb reads with ``--storage``."""
        return self._content("/file")

    def schedule(self, trial: str | None = None) -> Schedule:
        """The recommended schedule, or that of a trial."""
        return self.record_of(trial).trial.schedule if trial else self.recommend().schedule

    def export(
        self, trainer: str, out: str | Path, *, trial: str | None = None, **target: int
    ) -> list[Path]:
        """Write the files that a trainer loads; returns them.

        Args:
            trainer: One of ``mixopt.export.EXPORTERS``.
            out: Folder to write into.
            trial: Id of a trial whose schedule is written; None for the recommended one.
            target: The ``sequence_length`` and ``batch`` of the target run.
        """
        import io
        import zipfile

        of = {**target, **({"trial": trial} if trial else {})}
        packed = zipfile.ZipFile(io.BytesIO(self._content(f"/export/{trainer}", **of)))
        packed.extractall(out)
        return [Path(out, name) for name in packed.namelist()]

    def _content(self, path: str, **query: Any) -> bytes:
        return self._service.content(self._path + path, **query)

    def _send(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._service.send("POST", self._path + path, body)

    def _of(self, trial: str) -> str:
        return f"{self._path}/trials/{trial}"

    def _lease(self, trial: str) -> dict[str, str | None]:
        return {"lease": self.lease_of(trial)}


def _rungs(trial: str, values: Sequence[Observation]) -> list[dict[str, Any]]:
    alien = next((o.trial for o in values if o.trial != trial), None)
    if alien is not None:
        raise StudyError(
            f"trial {trial!r} was told observations of trial {alien!r}", "tell each trial its own"
        )
    return [
        {**o.model_dump(mode="json", exclude={"trial"}), "value": _finite(trial, o.metric, o.value)}
        for o in values
    ]


def _finite(trial: str, metric: str, value: float) -> float:
    """A value as JSON can hold it."""
    from mixopt.study.results.recording import require_finite_value

    require_finite_value(trial, metric, float(value))
    return float(value)
