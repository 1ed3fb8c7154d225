"""A served study run from here: its trials are tasks of a Ray, each of which asks for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.errors import StudyError
from mixopt.service.client import ServedStudy, connect
from mixopt.service.served_file import EXTERNAL
from mixopt.service.worker import PATIENCE, Say, work
from mixopt.tune.job import Job, with_tokens
from mixopt.tune.session import count_slots, ray_session

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.tune.trainable import Work

#: How long the service waits for a sign of life of a task.
LEASE_SECONDS = 600.0


@dataclass(frozen=True)
class Server:
    """How tasks reach the service.

    Attributes:
        url: Of the service, as the nodes of the Ray reach it.
        token: Of scope work; None where it needs none.
    """

    url: str
    token: str | None

    def study(self, name: str) -> ServedStudy:
        """One of its studies."""
        return connect(self.url, self.token, patience=PATIENCE).study(name)


def run_served(
    job: Job, server: Server, *, say: Say, address: str | None = None
) -> tuple[ServedStudy, Recommendation]:
    """Run the trials of a served study on Ray; the same call again goes on.

    The service proposes, stores and recommends; the study file's own trainer runs here. Others may
    run trials of the study meanwhile.

    Args:
        job: The study file; the study is made where the service has none of its name.
        server: Holds the study.
        say: Told what happens, a line per trial.
        address: Of the Ray to use; None for the study file's.

    Returns:
        The study, to be closed, and its recommendation.

    Raises:
        ConflictError: If the service has a study of that name with another configuration.
        StudyError: If a trial does not fit on the cluster.
    """
    trainer, tokens = job.trainer(), job.build(say)
    service = connect(server.url, server.token, patience=PATIENCE)
    study = service.create(served(job, tokens))
    with ray_session(address or job.file.address, say):
        from mixopt.tune.trainable import Work

        slots = count_slots(job.file.resources_per_trial)
        task, packed = _task(job.file.resources_per_trial), Work.of(trainer, job.logs)

        def run_all() -> None:
            _run(
                lambda: task.remote(server, study.name, packed), slots, job.file.most_failures, say
            )

        run_all()
        found = study.recommend()
        if job.file.confirm_seeds > 0 and study.confirm():
            run_all()
            found = study.recommend()
    return study, found


def served(job: Job, tokens: Mapping[str, int]) -> dict[str, Any]:
    """The study file as a service takes it: without trainer and corpus, with the known tokens."""
    space = with_tokens(job.file.space, tokens)
    plain = job.file.model_copy(update={"space": space}).model_dump(
        mode="json", exclude_none=True, exclude={"trainer", "corpus", "address", "storage_path"}
    )
    return {**plain, "trainer": EXTERNAL}


def _task(resources: Mapping[str, float]) -> Any:
    """The work of one trial as a Ray function."""
    import ray

    own = {"cpu": "num_cpus", "gpu": "num_gpus"}
    known = {own[k.lower()]: v for k, v in resources.items() if k.lower() in own}
    others = {k: v for k, v in resources.items() if k.lower() not in own}
    # A task whose worker died is not sent again by Ray: its lease says who may run the trial.
    options = {"num_cpus": 0, **known, "resources": others, "max_retries": 0}
    return ray.remote(_one_trial).options(**options)


def _one_trial(server: Server, name: str, packed: Work) -> tuple[str, list[str]]:
    said: list[str] = []
    trainer, lease = packed.load(), LEASE_SECONDS
    with closing(server.study(name)) as study:
        why = work(study, trainer, say=said.append, most=1, lease_seconds=lease, logs=packed.logs)
    return ("" if said else why), said


def _run(start: Callable[[], Any], slots: int, most_deaths: int, say: Say) -> None:
    """Keep every slot at work until the service has no more trials."""
    import ray

    tasks, over, deaths = {start() for _ in range(slots)}, False, 0
    while tasks:
        (done,), _ = ray.wait(list(tasks))
        tasks.remove(done)
        try:
            why, said = ray.get(done)
        except ray.exceptions.RayError as error:
            deaths += 1
            say(f"a worker has died: {_last_line(error)}")
            if deaths >= most_deaths:
                raise StudyError(
                    f"{deaths} workers in a row have died, the last one of: {_last_line(error)}",
                    "see Ray's logs; what was finished is kept, and the same command goes on",
                ) from None
        else:
            deaths, over = 0, over or bool(why)
            for line in said:
                say(line)
        if not over:
            tasks.add(start())


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
