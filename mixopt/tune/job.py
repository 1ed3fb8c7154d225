"""A study file with the folder its results live in: its corpus, its study and its trainer."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mixopt.advice import advise_space
from mixopt.corpus import Corpus, build_corpus, expected_tokens
from mixopt.errors import CorpusError, StudyError
from mixopt.proxy import Products, ProxyTrainer, architecture, faster_on_cpu, flops, likeness
from mixopt.space import LearningRateSpace, Mixture, SearchSpace, Trainer
from mixopt.study import (
    CallableTrainer,
    CommandTrainer,
    Storage,
    Study,
    StudyConfig,
)
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.config import require_same
from mixopt.study.storage.engine import storage_url
from mixopt.tune.driver import Pack
from mixopt.tune.study_file import (
    CallableChoice,
    CommandChoice,
    ExternalChoice,
    ProxyChoice,
    StudyFile,
)

# Event that keeps in which type proxies multiply on CPU: trials that are compared must have one.
PRODUCTS = "products"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One study file with the folder its results live in.

    Attributes:
        file: The study file, resolved.
        out: Folder of everything the study writes.
        storage: Database URL; SQLite in ``out`` by default.
    """

    file: StudyFile
    out: Path
    storage: str

    @classmethod
    def open(cls, path: str | Path, out: Path | None = None, storage: str | None = None) -> Job:
        """Read a study file, or the resolved copy in the folder of an earlier run.

        Raises:
            StudyError: If a folder is given that holds no study, or the storage is none.
            SpaceError: If the file is wrong; names the line.
        """
        path = Path(path)
        if path.is_dir():
            out, path = out or path, path / "study.yaml"
            if not path.is_file():
                raise StudyError(f"{path.parent} holds no study.yaml", "give the folder of a run")
        file = StudyFile.from_yaml(path)
        out = (out or Path("runs") / file.name).resolve()
        storage = storage or f"sqlite:///{out / 'study.db'}"
        storage_url(storage)
        return cls(file, out, storage)

    @property
    def corpus_dir(self) -> Path:
        """Where the tokens lie: shared by the studies of one runs folder."""
        if self.file.built_corpus is not None:
            return self.file.built_corpus
        return self.out.parent / f"corpus-{self.file.corpus.name}" if self.file.corpus else self.out

    @property
    def logs(self) -> Path:
        """Folder of the trials' output."""
        return self.out / "logs"

    def built_corpus(self) -> Corpus | None:
        """The corpus, where it is built from this file's spec and needed."""
        if self.file.built_corpus is not None:
            return Corpus.open(self.file.built_corpus)
        spec = self.file.corpus
        if spec is None or not isinstance(self.file.trainer, ProxyChoice):
            return None
        try:
            corpus = Corpus.open(self.corpus_dir)
        except CorpusError:
            return None
        return corpus if corpus.index.spec_digest == spec.digest() else None

    def tokens(self) -> dict[str, int]:
        """Training tokens per domain of the corpus; empty where none is built."""
        corpus = self.built_corpus()
        return {} if corpus is None else _counts(corpus)

    def expected_tokens(self) -> dict[str, int]:
        """Training tokens per domain as the sizes of the corpus's files let expect.

        Raises:
            CorpusError: If a pattern matches no file.
        """
        spec = self.file.corpus
        if spec is None or not isinstance(self.file.trainer, ProxyChoice):
            return {}
        return expected_tokens(spec)

    # Setting up

    def check(self) -> None:
        """Refuse what a study that is stored already does not allow; nothing is written.

        Raises:
            StudyError: If its results depend on something that the file has otherwise, or the
                trainer cannot be made.
        """
        self.trainer()
        known = self._stored()
        if known is not None:
            supply = {d.name: d.tokens for d in known.space.domains if d.tokens is not None}
            draft = self._study(None, supply, known.context.get("corpus"))
            require_same(self.file.name, known.text, draft.config)

    def build(self, say: Say) -> dict[str, int]:
        """Build the corpus that the trainer needs; returns the training tokens per domain.

        Raises:
            CorpusError: If it cannot be built.
        """
        if self.file.corpus is None or not isinstance(self.file.trainer, ProxyChoice):
            return self.tokens()
        return _counts(build_corpus(self.file.corpus, self.corpus_dir, progress=say))

    def prepare(self, say: Say) -> Study:
        """Build the corpus, open or make the study, and keep the resolved study file.

        Raises:
            StudyError: As ``check``, before anything is written.
            CorpusError: If the corpus cannot be built.
        """
        self.check()
        self.build(say)
        self.out.mkdir(parents=True, exist_ok=True)
        study = self.study
        kept, text = self.out / "study.yaml", self.file.to_yaml()
        if not kept.exists() or kept.read_text(encoding="utf-8") != text:
            part = kept.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, kept)
        return study

    @cached_property
    def study(self) -> Study:
        """The study in its storage, made if it is not there; keeps its fits between calls."""
        tokens: dict[str, int] = {}
        fingerprint = None
        if isinstance(self.file.trainer, ProxyChoice):
            corpus = Corpus.open(self.corpus_dir)
            tokens, fingerprint = _counts(corpus), corpus.fingerprint
        return self._study(self.storage, tokens, fingerprint)

    def existing_study(self, *, write: bool = False) -> Study:
        """The study in its storage; neither it nor a folder is made.

        Args:
            write: Whether trials are to be added; else the storage is only read.

        Raises:
            StudyError: If it was never run.
        """
        return Study.open(self.storage, self.file.name, read_only=not write)

    def draft(self, tokens: Mapping[str, int]) -> Study:
        """The study in memory, to look at what it would be.

        Args:
            tokens: Of the domains for which the file gives none.
        """
        return self._study(None, tokens, None)

    def _study(
        self, storage: str | None, tokens: Mapping[str, int], fingerprint: str | None
    ) -> Study:
        file, space = self.file, with_tokens(self.file.space, tokens)
        natural = natural_of(space)
        facts = {"trainer": file.trainer.model_dump(mode="json")}
        context = facts if fingerprint is None else {**facts, "corpus": fingerprint}
        return study_of(file, space, natural, storage, context, self._flops_per_token())

    def vocabulary(self) -> int | None:
        """Entries of the proxy's vocabulary; None where the corpus is not built and cannot say."""
        spec, corpus = self.file.corpus, self.built_corpus()
        if corpus is not None:
            return corpus.vocab_size
        known = (spec.tokenizer.train or spec.tokenizer.ids) if spec else None
        return known.vocab_size if known else None

    def _flops_per_token(self) -> dict[int, float]:
        """By parameters, what the proxy takes with its unembedding and attention."""
        choice, vocabulary = self.file.trainer, self.vocabulary()
        if not isinstance(choice, ProxyChoice) or vocabulary is None:
            return {}
        sizes = {f.parameters for f in (*self.file.fidelities, self.file.highest)}
        facts = {"vocab_size": vocabulary, "context": choice.settings.context}
        return {size: flops(architecture(size), 1, **facts) for size in sizes}

    def _stored(self) -> StudyConfig | None:
        """What the study is stored with; None where it is not there yet."""
        try:
            storage = Storage(self.storage, read_only=True)
        except StudyError:
            return None
        row = storage.study(self.file.name)
        storage.close()
        return None if row is None else StudyConfig.model_validate_json(row.config)

    # Running

    @property
    def _trunks(self) -> str | Path:
        """Where trials leave their trunks for one another."""
        place = self.file.storage_path
        return self.out / "checkpoints" if place is None else f"{place}/{self.file.name}/trunks"

    def packing(self) -> Pack | None:
        """How many proxies one worker trains side by side, and which; None for one at a time."""
        choice = self.file.trainer
        if not isinstance(choice, ProxyChoice) or choice.pack == 1:
            return None
        return choice.pack, partial(likeness, settings=choice.settings)

    def trainer_of(self, study: Study) -> Trainer:
        """The trainer of a study's trials, with what is decided once for all of them."""
        choice, vocabulary = self.file.trainer, self.vocabulary()
        if not isinstance(choice, ProxyChoice) or choice.settings.dtype != "auto":
            return self.trainer()
        made = study.state().events_of(PRODUCTS)
        if not made and vocabulary is not None:
            shape = architecture(self.file.highest.parameters)
            found = faster_on_cpu(shape, choice.settings, vocabulary)
            study.add_event(PRODUCTS, {"on_cpu": found})
            return self.trainer(found)
        return self.trainer(made[0]["on_cpu"] if made else None)

    def trainer(self, on_cpu: Products | None = None) -> Trainer:
        """What runs the trials.

        Args:
            on_cpu: Type of a proxy's products on CPU, where its settings leave it open.

        Raises:
            StudyError: If a callable cannot be imported, or workers elsewhere run the trials.
        """
        choice = self.file.trainer
        if isinstance(choice, ProxyChoice):
            return ProxyTrainer(self.corpus_dir, choice.settings, self._trunks, on_cpu)
        if isinstance(choice, CommandChoice):
            return CommandTrainer(choice.command, timeout=choice.timeout, logs=self.logs)
        if isinstance(choice, ExternalChoice):
            raise StudyError(
                f"the trials of {self.file.name!r} are run by workers of a service, not by `run`",
                "start mixopt serve and mixopt worker, or name another trainer",
            )
        return CallableTrainer(_import(choice))

    def advice(self, space: SearchSpace) -> tuple[str, ...]:
        """What is known about the schedules of a space, under the trainer's own rule and peak."""
        choice, rule = self.file.trainer, space.learning_rate
        if isinstance(choice, ProxyChoice) and not isinstance(rule, LearningRateSpace):
            rule = rule or choice.settings.schedule
            rule = rule.model_copy(update={"peak": rule.peak or choice.settings.learning_rate})
            space = space.model_copy(update={"learning_rate": rule})
        outside = unreachable_baseline(space)
        return (*([outside] if outside else []), *map(str, advise_space(space)))


def study_of(
    file: StudyFile,
    space: SearchSpace,
    natural: Mixture | None,
    storage: str | Storage | None,
    context: Mapping[str, Any],
    flops_per_token: Mapping[int, float] | None = None,
) -> Study:
    """The study of a file, made in its storage where it is not there yet.

    Args:
        file: What to search for, and how.
        space: The file's, with the tokens that are known.
        natural: What ``natural`` stands for in the objective; None where that is not known.
        storage: Where it is kept; None for memory.
        context: What else its results depend on.
        flops_per_token: By parameters, where the trainer says; see ``Study``.

    Raises:
        SpaceError: If the objective uses ``natural`` and that is not known.
        ConflictError: If it is stored with another configuration.
    """
    return Study(
        file.name,
        space,
        file.objective.resolve(natural, file.metrics),
        fidelity=file.fidelity,
        fidelities=file.fidelities,
        storage=storage,
        seed=file.seed,
        budget=file.budget,
        initial=file.initial,
        flops_per_token=flops_per_token or {},
        devices_per_trial=devices_of(file.resources_per_trial),
        context=context,
        laws=None if file.surrogate is None else file.surrogate.laws,
        **file.search_settings,
    )


def devices_of(resources: Mapping[str, float]) -> float:
    """Devices that a trial occupies: its GPUs where it has any, else its CPUs."""
    needs = {name.lower(): count for name, count in resources.items()}
    return needs.get("gpu") or needs.get("cpu") or 1.0


def with_tokens(space: SearchSpace, tokens: Mapping[str, int]) -> SearchSpace:
    """The space with token counts where it gives none."""
    domains = tuple(
        d.model_copy(update={"tokens": tokens[d.name]})
        if d.tokens is None and d.name in tokens
        else d
        for d in space.domains
    )
    return space.model_copy(update={"domains": domains})


def natural_of(space: SearchSpace) -> Mixture | None:
    """The natural mixture; None where the tokens of a domain are not known."""
    return space.natural if all(d.tokens is not None for d in space.domains) else None


def _counts(corpus: Corpus) -> dict[str, int]:
    return {name: corpus.count(name, "train") for name in corpus.domains}


def _import(choice: CallableChoice) -> Callable[..., object]:
    module, _, name = choice.target.partition(":")
    if os.getcwd() not in sys.path:
        # A console script has its own folder in the path, and not the one it is called from.
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"the trainer {choice.target!r} cannot be imported: {error}",
            "write package.module:function, importable from where mixopt runs",
        ) from None
    if not callable(found):
        raise StudyError(f"the trainer {choice.target!r} is not callable", "name a function")
    return found  # type: ignore[no-any-return]
