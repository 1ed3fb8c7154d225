"""The studies of a storage here or of a service, looked after in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixopt.errors import ConflictError, NotFoundError
from mixopt.service.client import Service, connect
from mixopt.service.messages import StudyInfo, study_info
from mixopt.study import Storage, Study, TrialRecord
from mixopt.study.storage.whole import copy_study, delete_study, set_archived, write_study


class LocalShelf:
    """The studies of a storage.

    Args:
        store: Of the studies.
    """

    def __init__(self, store: Storage) -> None:
        self._store = store

    def studies(self) -> list[dict[str, Any]]:
        """Every study with its number of trials per state, archived ones included."""
        return [
            {"name": row.name, "created": row.created, "archived": row.archived, "trials": counts}
            for row in map(self._store.require_study, self._store.study_names())
            for counts in [{s.value: n for s, n in self._store.counts(row.id).items()}]
        ]

    def info(self, name: str) -> StudyInfo:
        """Configuration, settings, trials per state, spending."""
        row = self._store.require_study(name)
        return study_info(Study.of_row(self._store, row), row.created, row.archived)

    def trials(self, name: str) -> list[tuple[TrialRecord, float | None]]:
        """Every trial with its state and objective."""
        state = Study.of_row(self._store, self._store.require_study(name)).state()
        return [(record, state.value_of(record)) for record in state.records]

    def export(self, name: str, path: Path) -> None:
        """Copy a study into a file of its own."""
        write_study(self._store, name, path)

    def archive(self, name: str, archived: bool) -> None:
        """Put a study away, or take it out again."""
        set_archived(self._store, self._number(name), archived)

    def delete(self, name: str) -> None:
        """Delete a study with its trials."""
        delete_study(self._store, self._number(name))

    def _number(self, name: str) -> int:
        return int(self._store.require_study(name).id)


class ServedShelf:
    """The studies of a service.

    Args:
        service: Holds the studies.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def studies(self) -> list[dict[str, Any]]:
        """Every study with its number of trials per state, archived ones included."""
        return self._service.studies(archived=True)

    def info(self, name: str) -> StudyInfo:
        """Configuration, settings, trials per state, spending."""
        return StudyInfo.model_validate(self._service.study(name).info())

    def trials(self, name: str) -> list[tuple[TrialRecord, float | None]]:
        """Every trial with its state and objective."""
        return self._service.study(name).trials()

    def export(self, name: str, path: Path) -> None:
        """Copy a study into a file of its own."""
        if path.exists():
            raise ConflictError(f"there is a file {path} already", "name another")
        path.write_bytes(self._service.study(name).file())

    def archive(self, name: str, archived: bool) -> None:
        """Put a study away, or take it out again."""
        self._service.send("PATCH", f"/v1/studies/{name}", {"archived": archived})

    def delete(self, name: str) -> None:
        """Delete a study with its trials."""
        self._service.send("DELETE", f"/v1/studies/{name}")


#: Either, looked after in the same way.
Shelf = LocalShelf | ServedShelf


def open_shelf(storage: str, server: str | None, token: str | None) -> Shelf:
    """The studies of a service where one is named, else those of a storage that is there."""
    if server is not None:
        return ServedShelf(connect(server, token))
    return LocalShelf(Storage(storage, create=False))


def import_study(path: Path, storage: str, as_name: str | None) -> str:
    """Copy the study of a file into a storage; returns its name there.

    Raises:
        NotFoundError: If there is no such file, or it does not hold a single study.
        ConflictError: If the storage has a study of that name.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}", "give what mixopt study export wrote")
    source, target = Storage(path, create=False, read_only=True), Storage(storage)
    try:
        name = str(source.require_study(None).name)
        copy_study(source, name, target, as_name)
    finally:
        source.close()
        target.close()
    return as_name or name
