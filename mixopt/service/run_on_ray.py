"""A served study run from here: its trials are tasks of a Ray, each of which asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mixopt.service.client import ServedStudy, connect
from mixopt.service.served_file import EXTERNAL
from mixopt.service.worker import PATIENCE, Say, work
from mixopt.tune.job import Job, with_tokens
from mixopt.tune.session import ray_session

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.tune.trainable import Work


@dataclass(frozen=True)
class Server:
    """How tasks reach the service.

    Attributes:
        url: Of the service, as the nodes of the Ray reach it.
        token: Of scope work; None where it needs none.
    """

    url: str
    token: str | None


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
        StudyError: If a trial does not fit on the cluster, or its workers keep dying.
    """
    file, trainer, tokens = job.file, job.trainer(), job.build(say)
    study = connect(server.url, server.token, patience=PATIENCE).create(served(job, tokens))
    with ray_session(address or file.address, say):
        from mixopt.tune.slot_tasks import fill_slots
        from mixopt.tune.trainable import Work

        def take(ended: tuple[bool, list[str]]) -> bool:
            for line in ended[1]:
                say(line)
            return ended[0]

        def run_all() -> None:
            fill_slots(
                partial(_one_trial, server, study.name, packed),
                resources=file.resources_per_trial,
                most_deaths=file.most_failures,
                take=take,
                say=say,
            )

        packed = Work.of(trainer, job.logs)
        run_all()
        found = study.recommend()
        if file.confirm_seeds > 0 and study.confirm():
            run_all()
            found = study.recommend()
    return study, found


def served(job: Job, tokens: Mapping[str, int]) -> dict[str, Any]:
    """The study file as a service takes it: without trainer and corpus, with the known tokens."""
    space = with_tokens(job.file.space, tokens)
    plain = job.file.model_copy(update={"space": space}).model_dump(
        mode="json",
        exclude_none=True,
        exclude={"trainer", "corpus", "address", "storage_path", "trackers"},
    )
    return {**plain, "trainer": EXTERNAL}


def _one_trial(server: Server, name: str, packed: Work) -> tuple[bool, list[str]]:
    """Whether there may be more, and what was said of the trial."""
    said: list[str] = []
    trainer = packed.load()
    with closing(connect(server.url, server.token, patience=PATIENCE).study(name)) as study:
        work(study, trainer, say=said.append, most=1, logs=packed.logs)
    return bool(said), said
