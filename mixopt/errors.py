"""The errors a user of mixopt meets: one sentence with what must hold, and a hint."""

from __future__ import annotations


class MixoptError(Exception):
    """Something the user can mend.

    Args:
        message: One sentence: what must hold, what was given, and where.
        hint: The next step to take; shown on a line of its own.
        field: Place of the value that is wrong, ``space.domains.0.tokens`` say.
    """

    def __init__(self, message: str, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[MixoptError], tuple[str, str, str]]:
        # Errors cross Ray's process boundary, where the default pickling would drop the hint.
        return (type(self), (self.message, self.hint, self.field))


class SpaceError(MixoptError, ValueError):
    """A search space, mixture or schedule breaks one of its invariants.

    A ``ValueError`` too, so that a validator that raises it keeps its place in the file.
    """


class InfeasibleError(SpaceError):
    """No mixture meets all the caps and bounds at once."""


class CorpusError(MixoptError):
    """The text given cannot become a corpus."""


class SurrogateError(MixoptError):
    """A surrogate cannot be fitted to, or asked about, what was given."""


class StudyError(MixoptError):
    """A study, its storage or its settings cannot do what was asked."""


class NotFoundError(StudyError):
    """The storage has no study, the study no trial, or the service no token of that name."""


class LeaseError(StudyError):
    """Another worker runs the trial, or this one's lease is over."""


class ConflictError(StudyError):
    """What was given is not what is stored, and results are never overwritten."""


class StorageError(StudyError):
    """The database refused, or cannot be reached."""


class TrialError(MixoptError):
    """One trial failed; the study goes on without it."""


class ExportError(MixoptError):
    """A schedule cannot be written for the trainer asked for."""
