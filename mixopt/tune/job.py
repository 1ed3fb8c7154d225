"""A study file turned into a corpus, a study and a trainer, and run to its recommendation."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mixopt.corpus import Corpus, build_corpus
from mixopt.errors import StudyError
from mixopt.proxy import ProxyTrainer, architecture
from mixopt.space import Domain, Objective, SearchSpace, Trainer
from mixopt.study import CallableTrainer, CommandTrainer, Study
from mixopt.tune.study_file import CallableChoice, CommandChoice, ProxyChoice, StudyFile

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
            StudyError: If a folder is given that holds no study.
            SpaceError: If the file is wrong; names the line.
        """
        path = Path(path)
        if path.is_dir():
            out, path = out or path, path / "study.yaml"
            if not path.is_file():
                raise StudyError(f"{path.parent} holds no study.yaml", "give the folder of a run")
        file = StudyFile.from_yaml(path)
        out = (out or Path("runs") / file.name).resolve()
        return cls(file, out, storage or f"sqlite:///{out / 'study.db'}")

    @property
    def corpus_dir(self) -> Path:
        """Where the tokens lie: shared by the studies of one runs folder."""
        return self.out.parent / f"corpus-{self.file.corpus.name}" if self.file.corpus else self.out

    def prepare(self, say: Say) -> None:
        """Make the folder, keep the resolved study file, and build the corpus it needs."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = self.file.to_yaml()
        kept = self.out / "study.yaml"
        if not kept.exists() or kept.read_text(encoding="utf-8") != text:
            part = kept.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, kept)
        if isinstance(self.file.trainer, ProxyChoice) and self.file.corpus is not None:
            build_corpus(self.file.corpus, self.corpus_dir, progress=say)

    @cached_property
    def corpus(self) -> Corpus | None:
        """The built corpus; None for a trainer of the user's own."""
        if not isinstance(self.file.trainer, ProxyChoice):
            return None
        return Corpus.open(self.corpus_dir)

    @cached_property
    def space(self) -> SearchSpace:
        """The study's space, with the corpus's token counts where the file gives none."""
        space = self.file.space
        corpus = self.corpus
        if corpus is None:
            return space
        domains = tuple(
            d if d.tokens is not None else _with_tokens(d, corpus.count(d.name, "train"))
            for d in space.domains
        )
        return space.model_copy(update={"domains": domains})

    @cached_property
    def objective(self) -> Objective:
        """The study's objective with ``natural`` spelled out."""
        known = all(d.tokens is not None for d in self.space.domains)
        return self.file.objective.resolve(self.space.natural if known else None)

    def study(self) -> Study:
        """Open or make the study in its storage."""
        return Study(
            self.file.name,
            self.space,
            self.objective,
            fidelity=self.file.fidelity,
            storage=self.storage,
            seed=self.file.seed,
            budget=self.file.budget,
            initial=self.file.initial,
            batch=self.file.batch,
            confirm_seeds=self.file.confirm_seeds,
            patience=self.file.patience,
        )

    def trainer(self) -> Trainer:
        """What runs the trials."""
        choice = self.file.trainer
        if isinstance(choice, ProxyChoice):
            return ProxyTrainer(self.corpus_dir, choice.settings, self.out / "checkpoints")
        if isinstance(choice, CommandChoice):
            return CommandTrainer(choice.command, timeout=choice.timeout)
        return CallableTrainer(_import(choice))

    def fingerprint(self) -> str:
        """SHA-256 of the resolved study file."""
        return hashlib.sha256(self.file.to_yaml().encode()).hexdigest()


def _with_tokens(domain: Domain, tokens: int) -> Domain:
    return domain.model_copy(update={"tokens": tokens})


def _import(choice: CallableChoice) -> Callable[..., object]:
    module, _, name = choice.target.partition(":")
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


@dataclass(frozen=True)
class Plan:
    """What a study would cost at most.

    Attributes:
        trials: Search trials.
        confirmations: Confirmation runs.
        tokens: Of all of them.
        flops: Of all of them.
        slots: Trials at a time.
        seconds: Estimated wall time; None where nothing is known of the trainer's speed.
    """

    trials: int
    confirmations: int
    tokens: int
    flops: float
    slots: int
    seconds: float | None


def plan(job: Job) -> Plan:
    """Count the trials, tokens and FLOPs of a study, and time a few steps of the proxy."""
    file = job.file
    trials = file.budget.most_trials(file.fidelity)
    confirmations = 4 * file.confirm_seeds
    runs = trials + confirmations
    slots = max(int((os.cpu_count() or 1) // max(file.resources_per_trial.get("cpu", 1), 1)), 1)
    each = _seconds_per_trial(job)
    return Plan(
        trials=trials,
        confirmations=confirmations,
        tokens=runs * file.fidelity.tokens,
        flops=runs * file.fidelity.flops,
        slots=slots,
        seconds=None if each is None else each * runs / slots,
    )


def _seconds_per_trial(job: Job) -> float | None:
    if not isinstance(job.file.trainer, ProxyChoice):
        return None
    from mixopt.proxy import tokens_per_second

    settings = job.file.trainer.settings
    vocabulary = 2048
    if job.file.corpus is not None and job.file.corpus.tokenizer.train is not None:
        vocabulary = job.file.corpus.tokenizer.train.vocab_size
    shape = architecture(job.file.fidelity.parameters)
    speed = tokens_per_second(shape, settings, vocabulary)
    return job.file.fidelity.tokens / speed
