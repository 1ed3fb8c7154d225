"""Starting and stopping Ray, quietly."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, TextIO, cast

from mixopt.errors import StudyError
from mixopt.steps import step

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # Loggers of every kind write the weights of every trial again; the storage has them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that failed reports no metrics; that must not end the round.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ctrl-C must reach this process: Tune would end the round as if it were complete.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The study's storage is the truth; Tune's own snapshots are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

LOCAL = "local"


@contextmanager
def ray_session(
    address: str | None = None, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Use the running Ray, or start one for as long as the block lasts.

    Args:
        address: ``auto`` for the Ray that runs on this machine or cluster, ``local`` for one of its
            own, or host and port; None for the one that ``RAY_ADDRESS`` names, else one of its own.
        say: Told which Ray was joined.

    Raises:
        StudyError: If Ray does not start, or the cluster cannot be reached.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    # A trial's reason is stored and shown by us, in one line instead of a traceback.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    wanted = address or ("auto" if os.environ.get("RAY_ADDRESS") else LOCAL)
    with redirect_stdout(cast("TextIO", _WithoutRay(sys.stdout))):
        _start(wanted)
        try:
            if say is not None and wanted != LOCAL:
                say(_joined())
            yield
        finally:
            # Ray flushes what it has kept back of its workers' deaths, in this thread.
            with redirect_stdout(StringIO()):
                ray.shutdown()


class _WithoutRay:
    """Standard output without what Ray's own threads print there, such as a worker's death."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _joined() -> str:
    import ray

    nodes = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
    cpus = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
    found = f"{nodes} node{'' if nodes == 1 else 's'} with {cpus:g} CPUs"
    return f"Ray at {ray.get_runtime_context().gcs_address}: {found}"


@step("starting Ray")
def _start(address: str) -> None:
    """Start or join Ray; a start of one's own is tried again.

    Two that start at once race for the link to the latest session, and a busy machine may run out
    of the time that Ray gives its own processes.
    """
    import ray

    for last in (False, False, True) if address == LOCAL else (True,):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ray.init(
                    address=address,
                    include_dashboard=False if address == LOCAL else None,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            except ConnectionError as error:
                raise StudyError(
                    f"no running Ray was found at the address {address!r}",
                    "start one with `ray start --head`, or use the address `local`",
                ) from error
            except Exception as error:
                if last:
                    raise StudyError(
                        f"Ray did not start: {error}",
                        "check the address, or free memory and file handles on this machine",
                    ) from error
                ray.shutdown()
            else:
                return


def count_slots(resources: Mapping[str, float]) -> int:
    """How many trials fit on the cluster at a time.

    Args:
        resources: Of one trial, as Ray counts them (``cpu``, ``gpu``, custom names).

    Raises:
        StudyError: If not even one fits; names the resource.
    """
    import ray

    names = {"cpu": "CPU", "gpu": "GPU"}
    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fits = {}
    for name, needed in resources.items():
        total = have.get(names.get(name.lower(), name), 0.0)
        if needed > total:
            raise StudyError(
                f"a trial needs {needed:g} {name}, but the cluster has {total:g}",
                "lower resources_per_trial, or add machines",
            )
        if needed > 0:
            fits[name] = int(total / needed)
    return max(min(fits.values(), default=1), 1)
