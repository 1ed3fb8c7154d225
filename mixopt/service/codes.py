"""Which error of the library a problem's code stands for, on both ends of the wire."""

from __future__ import annotations

from mixopt.errors import (
    ConflictError,
    ExportError,
    InfeasibleError,
    LeaseError,
    MixoptError,
    NotFoundError,
    SpaceError,
    StorageError,
    StudyError,
)

#: HTTP status and code per class; an error has those of the first that it is an instance of.
KINDS: tuple[tuple[type[MixoptError], int, str], ...] = (
    (NotFoundError, 404, "not_found"),
    (LeaseError, 409, "lease_lost"),
    (ConflictError, 409, "conflict"),
    (StorageError, 503, "storage_unavailable"),
    (InfeasibleError, 422, "infeasible"),
    (SpaceError, 422, "invalid"),
    (ExportError, 422, "not_exported"),
    (MixoptError, 409, "not_possible"),
)


def error_class(code: str) -> type[MixoptError]:
    """The class of a code; ``StudyError`` for those that no class has."""
    found = {c: kind for kind, _, c in KINDS if kind is not MixoptError}
    return found.get(code, StudyError)
