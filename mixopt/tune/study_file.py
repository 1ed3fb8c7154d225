"""The YAML file behind ``mixopt run``: one study from corpus to export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mixopt.corpus import Corpus, CorpusSpec
from mixopt.errors import SpaceError
from mixopt.export import ExportRequest, import_baseline
from mixopt.proxy import ProxySettings
from mixopt.space import (
    Fidelity,
    Frozen,
    Guardrail,
    Metric,
    Mixture,
    Objective,
    SearchSpace,
    load_yaml,
    validate_node,
)
from mixopt.space.complaints import Written
from mixopt.space.library import find_corpus_spec, find_search_space
from mixopt.space.search_space import COUNTED_LATER
from mixopt.study import TrialBudget
from mixopt.study.config import SearchSettings
from mixopt.tune.tracking import TrackerName


class ProxyChoice(Frozen):
    """Train mixopt's own small transformer.

    Attributes:
        kind: ``proxy``.
        settings: Of the proxy.
        pack: Proxies that one worker trains side by side, at most; more than one pays on a GPU
            alone. They take and leave no trunks.
    """

    kind: Literal["proxy"] = "proxy"
    settings: ProxySettings = ProxySettings()
    pack: Annotated[int, Field(ge=1)] = 1


class CommandChoice(Frozen):
    """Run the user's own trainer as a shell command.

    Attributes:
        kind: ``command``.
        command: With the placeholders ``{schedule}``, ``{out}`` and ``{seed}``.
        timeout: Seconds after which a trial has failed.
    """

    kind: Literal["command"]
    command: Annotated[
        str, Field(min_length=1, examples=["python train.py {schedule} {out} {seed}"])
    ]
    timeout: Annotated[float, Field(gt=0)] | None = None


class CallableChoice(Frozen):
    """Call the user's own trainer.

    Attributes:
        kind: ``callable``.
        target: ``package.module:function``.
    """

    kind: Literal["callable"]
    target: Annotated[
        str,
        Written(r"[\w.]+:\w+", "must be module:function", "train:run"),
    ]


class ExternalChoice(Frozen):
    """Trials are run by workers that ask a service for them.

    Attributes:
        kind: ``external``.
    """

    kind: Literal["external"]


KINDS = ("proxy", "command", "callable", "external")


def _kind(value: Any) -> str | None:
    """Which trainer is meant; without a kind, the one whose key is there."""
    if not isinstance(value, Mapping):
        return f"a {value.kind}" if hasattr(value, "kind") else None
    usual = {"command": "command", "target": "callable"}
    meant = next((kind for key, kind in usual.items() if key in value), "proxy")
    kind = value.get("kind", meant)
    return f"a {kind}" if kind in KINDS else None


TrainerChoice = Annotated[
    # Tags that no key of a file is, so that places never mix them up.
    Annotated[ProxyChoice, Tag("a proxy")]
    | Annotated[CommandChoice, Tag("a command")]
    | Annotated[CallableChoice, Tag("a callable")]
    | Annotated[ExternalChoice, Tag("a external")],
    Discriminator(
        _kind,
        custom_error_type="trainer_kind",
        custom_error_message=f"must have a kind that is one of {', '.join(KINDS)}",
    ),
    Field(examples=[{"kind": "command", "command": "python train.py {schedule} {out}"}]),
]


class ObjectiveFile(Frozen):
    """An objective as written in a file.

    Attributes:
        weights: Share of each metric; ``natural`` stands for all domains by their natural weights.
        guardrails: Metrics that must not get worse.
        scale: Value of each metric by which its weight is divided.
    """

    weights: Annotated[dict[str, float], Field(examples=[{"natural": 1.0}])]
    guardrails: tuple[Guardrail, ...] = ()
    scale: dict[str, Annotated[float, Field(gt=0)]] | None = None

    @model_validator(mode="after")
    def _sums(self) -> ObjectiveFile:
        Objective(weights=self.weights, guardrails=self.guardrails)
        return self

    def resolve(self, natural: Mixture | None, kinds: dict[str, Metric]) -> Objective:
        """Spell ``natural`` out, and say what the metrics are.

        Raises:
            SpaceError: If ``natural`` is used and the domains' tokens are not known.
        """
        weights = dict(self.weights)
        share = weights.pop("natural", 0.0)
        if share and natural is None:
            raise SpaceError(
                "the objective uses `natural`, but the tokens of the domains are not known",
                "give the tokens of every domain, or name each metric",
            )
        for name, weight in (natural or {}).items():
            if share:
                weights[name] = weights.get(name, 0.0) + share * weight
        rails = self.guardrails
        return Objective(weights=weights, guardrails=rails, kinds=kinds, scale=self.scale)


class SurrogateFile(Frozen):
    """The surrogate as written in a file.

    Attributes:
        laws: Mixing laws that enter it beside the Gaussian processes; none for these alone.
    """

    laws: tuple[Literal["M4", "effective data", "shared law"], ...]


def _with_imported_baseline(space: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The space with ``baseline: {from: TRAINER, path: CONFIG}`` as what the configuration says."""
    asked = space.get("baseline")
    if not isinstance(asked, dict) or set(asked) != {"from", "path"}:
        return space
    found = import_baseline(str(asked["from"]), folder / str(asked["path"]))
    plain = dict(found) if isinstance(found, Mixture) else found.model_dump(mode="json")
    return {**space, "baseline": plain}


def _export(value: Any) -> Any:
    """A trainer's name alone asks for nothing more."""
    return {"to": value} if isinstance(value, str) else value


Export = Annotated[ExportRequest, BeforeValidator(_export)]


class StudyFile(SearchSettings):
    """Everything ``mixopt run`` needs.

    With the settings of the search: ``batch``, ``confirm_seeds``, ``patience``, ``replicates``,
    ``retries``, ``most_failures``, ``seed_blocks`` and ``early_stop``; see ``SearchSettings``.

    Attributes:
        name: Of the study.
        space: The search space: a shipped one's name, a file beside this one, or written here.
        corpus: The corpus spec for the proxy: a shipped one's name, a file, or written here; or the
            folder of a built one.
        built_corpus: The folder of a corpus that is built, in place of `corpus`.
        objective: What to improve.
        metrics: What the metrics are; losses in nats per token where nothing is said.
        surrogate: The laws in it; all by default.
        fidelity: Of every trial.
        fidelities: Instead of it, several: the study chooses one per trial.
        trainer: The proxy, a command, a callable, or workers of a service.
        budget: Totals after which the study stops.
        initial: Trials of the first round; None for the number of domains plus two.
        seed: Every random draw comes from it.
        resources_per_trial: As Ray counts them.
        address: Of the Ray to use: ``auto`` (the one that runs), ``local`` (one of its own) or host
            and port; None for what ``RAY_ADDRESS`` names, else one of its own.
        storage_path: Folder or URI (``s3://``, ``gs://``) in which nodes find one another's trunks;
            None for the run's folder, which serves one node.
        trackers: Tools that keep each trial as a run too: ``mlflow``, ``wandb``.
        exports: What is written at the end: a trainer's name, or a mapping of ``to``, ``tokens``,
            ``sequence_length``, ``batch``, ``seed``, ``paths``, ``learning_rate`` and more.
        sequence_length: Tokens per sequence of the target, for exports that name none.
    """

    name: Annotated[
        str,
        Written(
            r"[A-Za-z0-9][\w.-]{0,199}",
            "must begin with a letter or digit, hold only these and any of _ . -, 200 at most",
            "my-study",
        ),
    ]
    space: SearchSpace
    corpus: CorpusSpec | None = None
    built_corpus: Path | None = None
    objective: ObjectiveFile
    metrics: Annotated[
        dict[str, Metric],
        Field(
            examples=[{"gsm8k": {"kind": "accuracy", "n": 1319}}],
            exclude_if=lambda value: not value,
        ),
    ] = {}
    surrogate: Annotated[SurrogateFile | None, Field(examples=[{"laws": ["M4"]}])] = None
    fidelity: Fidelity | None = None
    fidelities: tuple[Fidelity, ...] = ()
    trainer: TrainerChoice = ProxyChoice()
    budget: Annotated[TrialBudget, Field(examples=[{"trials": 24}])]
    initial: Annotated[int, Field(ge=2)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    resources_per_trial: dict[str, Annotated[float, Field(ge=0)]] = {"cpu": 1}
    address: (
        Annotated[
            str, Written(r"(auto|local|[^:\s]+:\d+)", "must be auto, local or HOST:PORT", "auto")
        ]
        | None
    ) = None
    storage_path: str | None = None
    trackers: Annotated[
        tuple[TrackerName, ...],
        Field(examples=[["mlflow"]], exclude_if=lambda value: not value),
    ] = ()
    exports: tuple[Export, ...] = (ExportRequest(to="schedule"),)
    sequence_length: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> StudyFile:
        if (self.fidelity is None) == (not self.fidelities):
            raise SpaceError(
                "a study needs either `fidelity` or `fidelities`; "
                f"{'it has both' if self.fidelities else 'it has neither'}",
                "add `fidelity: {parameters: ..., tokens: ...}`, or a list under `fidelities`",
            )
        domains = self.corpus_domains
        if isinstance(self.trainer, ProxyChoice) and not domains:
            raise SpaceError(
                "the proxy trainer needs a corpus; the study names none",
                "add `corpus: local_corpus`, or use a trainer of another kind",
            )
        if isinstance(self.trainer, ProxyChoice):
            _require_measured(self.objective, self.space)
        missing = [n for n in self.space.names if domains and n not in domains]
        if missing:
            raise SpaceError(
                f"the space has the domains {missing}, which the corpus does not build",
                f"the corpus has {sorted(domains)}",
            )
        return self

    @property
    def corpus_domains(self) -> tuple[str, ...]:
        """Domains of the corpus, built or not; none where there is no corpus."""
        if self.built_corpus is not None:
            return tuple(Corpus.open(self.built_corpus).domains)
        return () if self.corpus is None else tuple(self.corpus.domains)

    @property
    def search_settings(self) -> dict[str, Any]:
        """The settings of the search, as keywords of ``Study``."""
        return {key: getattr(self, key) for key in SearchSettings.model_fields}

    @property
    def highest(self) -> Fidelity:
        """The highest fidelity of a trial; confirmation runs have it."""
        return self.fidelity or max(self.fidelities, key=lambda f: f.flops)

    @property
    def cheapest(self) -> Fidelity:
        """The cheapest fidelity of a trial."""
        return self.fidelity or min(self.fidelities, key=lambda f: f.flops)

    @classmethod
    def from_yaml(cls, path: str | Path) -> StudyFile:
        """Read a study; an error names the file, line and key."""
        data, node = load_yaml(path)
        folder = Path(path).resolve().parent
        corpus = data.get("corpus")
        if isinstance(corpus, str) and (folder / corpus).is_dir():
            data["built_corpus"] = str(folder / data.pop("corpus"))
        elif isinstance(corpus, str):
            data["corpus"] = CorpusSpec.from_yaml(find_corpus_spec(corpus, folder))
        elif isinstance(corpus, dict):
            corpus.setdefault("root", str(folder))
        counted = corpus is not None or "built_corpus" in data
        context = COUNTED_LATER if counted and _kind(data.get("trainer", {})) == "a proxy" else None
        if isinstance(data.get("space"), str):
            where = find_search_space(data["space"], folder)
            space, tree = load_yaml(where)
            space = _with_imported_baseline(space, where.resolve().parent)
            data["space"] = validate_node(SearchSpace, space, tree, where, context)
        elif isinstance(data.get("space"), dict):
            data["space"] = _with_imported_baseline(data["space"], folder)
        return validate_node(cls, data, node, path, context)

    def to_yaml(self) -> str:
        """The study with everything resolved, as YAML that ``from_yaml`` reads back."""
        # The name leads, as in a file that a person writes; the inherited settings end it.
        own = [key for key in type(self).model_fields if key not in SearchSettings.model_fields]
        facts = self.model_dump(mode="json", exclude_none=True)
        plain = {key: facts[key] for key in [*own, *SearchSettings.model_fields] if key in facts}
        return yaml.safe_dump(plain, sort_keys=False)


def _require_measured(objective: ObjectiveFile, space: SearchSpace) -> None:
    named = [*objective.weights, *(g.metric for g in objective.guardrails)]
    unknown = [n for n in named if n not in {*space.names, "natural"}]
    if unknown:
        raise SpaceError(
            f"the objective names the metrics {unknown}, which the proxy does not measure",
            f"it measures {', '.join(space.names)}; `natural` stands for all by their tokens",
        )
