"""A study file that comes in a request: read as data, with nothing opened, imported or run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from mixopt.errors import SpaceError
from mixopt.space import SearchSpace, geometry_of, parse_yaml, validate_node, validate_yaml
from mixopt.space.complaints import as_space_error
from mixopt.space.library import find_search_space
from mixopt.study import Storage, Study
from mixopt.tune.job import natural_of, study_of
from mixopt.tune.study_file import ExternalChoice, StudyFile

WHERE = "the study"
EXTERNAL = {"kind": "external"}


def read_study(body: bytes, *, as_yaml: bool) -> StudyFile:
    """The study of a request's body.

    Args:
        body: YAML or JSON, as a file for ``mixopt run``.
        as_yaml: Which of the two.

    Raises:
        SpaceError: Naming the place of the first thing that is wrong; also for a trainer that is
            not external, and for a corpus, which only files of the server could be.
    """
    try:
        text = body.decode()
        if as_yaml:
            _refuse_aliases(text)
            data, node = parse_yaml(text, WHERE)
        else:
            data, node = json.loads(text), None
        if not isinstance(data, dict):
            raise SpaceError(f"{WHERE} must be a mapping; got {type(data).__name__}")
        data = _served(data)
        return _validated(data) if node is None else validate_node(StudyFile, data, node, WHERE)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpaceError(f"{WHERE} cannot be read: {error}", "send UTF-8 JSON or YAML") from None
    except yaml.YAMLError as error:
        raise SpaceError(f"{WHERE} is not YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, OverflowError) as error:
        raise SpaceError(f"{WHERE} is nested too deep or too large in a number: {error}") from None


def make_study(file: StudyFile, storage: Storage | None) -> Study:
    """The study of a file, made where it is not there yet; None keeps it in memory.

    Raises:
        SpaceError: If its space is infeasible, or its objective needs tokens that are not known.
        ConflictError: If one of that name is stored with another configuration.
    """
    natural = natural_of(file.space)
    try:
        # An infeasible space says so here, and not first to those who ask for trials.
        geometry_of(file.space).summary()
        return study_of(file, file.space, natural, storage, {"trainer": EXTERNAL})
    except (OverflowError, RecursionError) as error:
        raise SpaceError(f"{WHERE} holds too large a number: {error}") from None


def _served(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with what the service adds; refuses what it must not follow."""
    data = {"trainer": EXTERNAL, **data}
    trainer = data["trainer"]
    if not isinstance(trainer, dict) or trainer.get("kind") != ExternalChoice(kind="external").kind:
        raise SpaceError(
            f"{WHERE}: a served study is trained by workers elsewhere, so its trainer must be "
            "{kind: external}",
            "leave the trainer out; mixopt worker takes the command",
            "trainer",
        )
    if data.get("corpus") is not None:
        raise SpaceError(
            f"{WHERE}: a served study takes no corpus, for the server opens no file",
            "leave the corpus out, and give the domains' tokens",
            "corpus",
        )
    if isinstance(data.get("space"), str):
        # A name is looked up among those that are shipped, and is never a path.
        shipped = validate_yaml(SearchSpace, find_search_space(data["space"], None))
        data["space"] = shipped.model_dump(mode="json")
    return data


def _validated(data: Mapping[str, Any]) -> StudyFile:
    try:
        return StudyFile.model_validate(data)
    except ValidationError as error:
        raise as_space_error(error, StudyFile, data, WHERE) from None


def _refuse_aliases(text: str) -> None:
    # A few lines of aliases of aliases stand for more data than any memory holds.
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        raise SpaceError(f"{WHERE} uses a YAML alias (*name)", "write the value out")
