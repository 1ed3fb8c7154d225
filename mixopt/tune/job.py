"""A study file turned into a corpus, a study and a trainer, and run to its recommendation."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mixopt.advice import advise_space
from mixopt.corpus import Corpus, build_corpus
from mixopt.errors import StudyError
from mixopt.proxy import (
    ProxyTrainer,
    architecture,
    tokens_per_second,
    tokens_with_sharing,
)
from mixopt.space import (
    Domain,
    LearningRateSpace,
    Mixture,
    Objective,
    SearchSpace,
    Trainer,
    Trial,
)
from mixopt.study import CallableTrainer, CommandTrainer, Study
from mixopt.tune.progress import Progress
from mixopt.tune.runner import RunSummary, run_rounds, trunks_first
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

    @property
    def sequence_length(self) -> int | None:
        """Tokens per sequence: the file's, or the proxy's context; None where neither says."""
        choice = self.file.trainer
        proxy = choice.settings.context if isinstance(choice, ProxyChoice) else None
        return self.file.sequence_length or proxy

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
        return self.file.objective.resolve(_natural(self.space))

    @cached_property
    def study(self) -> Study:
        """The study in its storage, made if it is not there; keeps its fits between calls."""
        return Study(
            self.file.name,
            self.space,
            self.objective,
            fidelity=self.file.fidelity,
            fidelities=self.file.fidelities,
            storage=self.storage,
            seed=self.file.seed,
            budget=self.file.budget,
            initial=self.file.initial,
            batch=self.file.batch,
            confirm_seeds=self.file.confirm_seeds,
            patience=self.file.patience,
            replicates=self.file.replicates,
            context=self._context(),
        )

    def existing_study(self) -> Study:
        """The study in its storage.

        Raises:
            StudyError: If it was never run.
        """
        return Study.open(self.storage, self.file.name)

    def advice(self, space: SearchSpace) -> tuple[str, ...]:
        """What is known about the schedules of a space, under the trainer's own rule and peak."""
        choice, rule = self.file.trainer, space.learning_rate
        if isinstance(choice, ProxyChoice) and not isinstance(rule, LearningRateSpace):
            rule = rule or choice.settings.schedule
            rule = rule.model_copy(update={"peak": rule.peak or choice.settings.learning_rate})
            space = space.model_copy(update={"learning_rate": rule})
        return tuple(map(str, advise_space(space)))

    def trainer(self) -> Trainer:
        """What runs the trials."""
        choice = self.file.trainer
        if isinstance(choice, ProxyChoice):
            return ProxyTrainer(self.corpus_dir, choice.settings, self.out / "checkpoints")
        if isinstance(choice, CommandChoice):
            return CommandTrainer(choice.command, timeout=choice.timeout)
        return CallableTrainer(_import(choice))

    def _context(self) -> dict[str, Any]:
        """What results depend on besides the space: weights do not carry over to other text."""
        facts: dict[str, Any] = {"trainer": self.file.trainer.model_dump(mode="json")}
        if self.corpus is not None:
            facts["corpus"] = self.corpus.fingerprint
        return facts


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
        first_round: Tokens of the first round.
        first_round_shared: Those it really trains, as endings branch from shared trunks.
        first_round_flops: FLOPs of the first round without sharing.
        first_round_flops_shared: Those it really takes.
        slots: Trials at a time on this machine.
        seconds: Estimated wall time without sharing; None for a trainer of unknown speed.
        advice: What is known against schedules of the space, or to know about them.
    """

    trials: int
    confirmations: int
    tokens: int
    flops: float
    first_round: int
    first_round_shared: int
    first_round_flops: float
    first_round_flops_shared: float
    slots: int
    seconds: float | None
    advice: tuple[str, ...] = ()


def plan(job: Job) -> Plan:
    """Count the trials, tokens and FLOPs of a study, and time a few steps of the proxy."""
    file = job.file
    study = Study(
        file.name,
        job.file.space,
        file.objective.resolve(_natural(file.space)),
        fidelity=file.fidelity,
        fidelities=file.fidelities,
        storage=None,
        seed=file.seed,
        budget=file.budget,
        initial=file.initial,
    )
    first = study.ask()
    top, trials = file.highest, file.budget.most_trials(file.cheapest)
    checks = 4 * file.confirm_seeds
    # Where trials differ, the totals cap what as many of the dearest would cost.
    tokens = min(trials * top.tokens, file.budget.tokens or sys.maxsize) + checks * top.tokens
    flops = min(trials * top.flops, file.budget.flops or math.inf) + checks * top.flops
    slots = max(int((os.cpu_count() or 1) // max(file.resources_per_trial.get("cpu", 1), 1)), 1)
    each = _seconds_per_trial(file)
    begun = sum(t.fidelity.tokens for t in first)
    begun_flops = sum(t.fidelity.flops for t in first)
    proxy = isinstance(file.trainer, ProxyChoice)
    trained = _shared(file, first) if proxy else [(t.fidelity.tokens, t) for t in first]
    return Plan(
        trials=trials,
        confirmations=checks,
        tokens=tokens,
        flops=flops,
        first_round=begun,
        first_round_shared=sum(n for n, _ in trained),
        first_round_flops=begun_flops,
        first_round_flops_shared=sum(6.0 * t.fidelity.parameters * n for n, t in trained),
        slots=slots,
        seconds=None if each is None else each * flops / top.flops / slots,
        advice=job.advice(file.space),
    )


def _natural(space: SearchSpace) -> Mixture | None:
    return space.natural if all(d.tokens is not None for d in space.domains) else None


def _shared(file: StudyFile, trials: Sequence[Trial]) -> list[tuple[int, Trial]]:
    """Tokens that each trial really trains."""
    assert isinstance(file.trainer, ProxyChoice), "only the proxy keeps trunks"
    ordered = list(trunks_first(trials))
    return list(zip(tokens_with_sharing(ordered, file.trainer.settings), ordered, strict=True))


def _seconds_per_trial(file: StudyFile) -> float | None:
    if not isinstance(file.trainer, ProxyChoice):
        return None
    vocabulary = 2048
    if file.corpus is not None and file.corpus.tokenizer.train is not None:
        vocabulary = file.corpus.tokenizer.train.vocab_size
    shape = architecture(file.highest.parameters)
    return file.highest.tokens / tokens_per_second(shape, file.trainer.settings, vocabulary)


def run_job(job: Job, *, say: Say, progress: Progress | None = None) -> RunSummary:
    """Run a study from its text to its recommendation; the same call again goes on.

    Args:
        job: What to run.
        say: Told what happens before the trials start.
        progress: Shows the trials.

    Raises:
        MixoptError: If any part cannot do its work; what was finished is kept.
    """
    job.prepare(say)
    for advice in job.advice(job.space):
        say(advice)
    return run_rounds(
        job.study,
        job.trainer(),
        out=job.out,
        resources_per_trial=job.file.resources_per_trial,
        confirm=job.file.confirm_seeds > 0,
        progress=progress or Progress(total=job.file.budget.trials),
    )
