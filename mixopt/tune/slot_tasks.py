"""A function that is called again and again in every slot of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from mixopt.errors import StudyError
from mixopt.tune.session import count_slots

T = TypeVar("T")


def fill_slots(
    call: Callable[[], T],
    *,
    resources: Mapping[str, float],
    most_deaths: int,
    take: Callable[[T], bool],
    say: Callable[[str], None],
) -> None:
    """Call a function in every slot, again and again, until one of its results is the last.

    Args:
        call: Picklable.
        resources: Of one call, as Ray counts them.
        most_deaths: Calls in a row that may end with their worker.
        take: Told each result; says whether more calls are wanted.
        say: Told of workers that died.

    Raises:
        StudyError: If no call fits on the cluster, or too many workers die.
    """
    task, packed = _task(resources), ray.put(call)
    tasks = {task.remote(packed) for _ in range(count_slots(resources))}
    more, deaths = True, 0
    while tasks:
        (done,), _ = ray.wait(list(tasks))
        tasks.remove(done)
        try:
            more = take(ray.get(done)) and more
            deaths = 0
        except RayError as error:
            deaths += 1
            reason = str(error).strip().splitlines()[-1]
            say(f"a worker has died: {reason}")
            if deaths >= most_deaths:
                raise StudyError(
                    f"{deaths} workers in a row have died, the last one of: {reason}",
                    "see Ray's logs; what was finished is kept, and the same command goes on",
                ) from None
        if more:
            tasks.add(task.remote(packed))


def _task(resources: Mapping[str, float]) -> Any:
    own = {"cpu": "num_cpus", "gpu": "num_gpus"}
    known = {own[k.lower()]: v for k, v in resources.items() if k.lower() in own}
    others = {k: v for k, v in resources.items() if k.lower() not in own}
    options = {"num_cpus": 0, **known, "resources": others, "max_retries": 0}
    return ray.remote(_called).options(**options)


def _called(call: Callable[[], T]) -> T:
    return call()
