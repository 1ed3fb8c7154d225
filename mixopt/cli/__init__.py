"""The verbs of ``mixopt``. Results go to stdout, progress and logs to stderr.

Every verb imports what it needs when it is called, so that ``mixopt --help`` answers at once.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mixopt.cli import (
    analysis_verbs,
    bench_verbs,
    data_verbs,
    export_verbs,
    service_verbs,
    shelf_verbs,
    study_verbs,
)
from mixopt.cli.app import app
from mixopt.cli.waiting import told
from mixopt.errors import MixoptError

__all__ = [
    "analysis_verbs",
    "app",
    "bench_verbs",
    "data_verbs",
    "export_verbs",
    "main",
    "service_verbs",
    "shelf_verbs",
    "study_verbs",
]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: an error of the user's is one sentence and a hint, exit code 1."""
    # The verbs print advice themselves.
    logging.getLogger("mixopt.advice").disabled = True
    try:
        with told():
            try:
                app(argv)
            finally:
                sys.stdout.flush()
    except BrokenPipeError:
        # Who read the output has seen enough; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MixoptError as error:
        _end(error)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        hint = NEXT_STEPS.get(error.errno or 0, "check the path, or name another one")
        _end(MixoptError(f"{named}{error.strerror or error}", hint))


#: What to do about what a file system refuses.
NEXT_STEPS = {
    errno.ENOSPC: "free some space there, or name a folder on another disk",
    errno.EACCES: "name a folder that you may write to",
    errno.EROFS: "name a folder that can be written to",
    errno.ENOTDIR: "a file stands where a folder must; name another folder",
    errno.EEXIST: "a file stands where a folder must; name another folder",
}


def _end(error: MixoptError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1) from None
