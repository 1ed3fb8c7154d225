"""The verbs of ``mixopt``. Results go to stdout, progress and logs to stderr.

Every verb imports what it needs when it is called, so that ``mixopt --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

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
        try:
            app(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Who read the output has seen enough; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MixoptError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
