"""One trial in, loss curves out."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.corpus import Corpus, MixtureSampler
from mixopt.corpus import Split as CorpusSplit
from mixopt.errors import TrialError
from mixopt.proxy.checkpoints import CheckpointStore, Snapshot
from mixopt.proxy.evaluate import evaluation_windows, measure
from mixopt.proxy.settings import ProxySettings
from mixopt.proxy.shape import architecture
from mixopt.proxy.speed import Products, products_dtype
from mixopt.proxy.step import adamw, autocast, cpu_threads, train_step
from mixopt.proxy.step_plan import StepPlan, plan_steps
from mixopt.proxy.transformer import Proxy
from mixopt.proxy.unigram import unigram_bias
from mixopt.space import Frozen, Observation, Report, Split, Trial

# Part of every checkpoint's key: raise it when the training loop or the model changes.
RECIPE = 4
# Steps between looks at the training loss; a look makes a GPU wait.
_LOOK = 16


class TokenSource(Protocol):
    """What the trainer needs of a corpus."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names."""

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary."""

    @property
    def fingerprint(self) -> str:
        """Hash of all tokens."""

    def tokens(self, domain: str, split: CorpusSplit) -> NDArray[Any]:
        """Token ids of a domain and split."""


class RunCounts(Frozen):
    """What the last run cost.

    Attributes:
        tokens_trained: Tokens trained on in this run.
        tokens_reused: Tokens of the prefix taken from a checkpoint.
        seconds: Wall time.
        parameters: Non-embedding parameters, exactly.
        epochs: Passes over each domain's training text, the reused prefix included.
    """

    tokens_trained: int
    tokens_reused: int
    seconds: float
    parameters: int
    epochs: dict[str, float]


class ProxyTrainer:
    """Trains the proxy of a trial and measures it on every domain (a ``Trainer``).

    Args:
        corpus: The folder of a built corpus, or one already open.
        settings: How to train.
        checkpoints: Folder or URI in which trunks are kept and looked for (`CheckpointStore`); None
            to train each trial from the start.
        on_cpu: What `faster_on_cpu` found for all trials of a study; None to try it out here.

    Attributes:
        last_run: The cost of the last finished run; None before the first.
    """

    def __init__(
        self,
        corpus: Path | str | TokenSource,
        settings: ProxySettings | None = None,
        checkpoints: str | Path | None = None,
        on_cpu: Products | None = None,
    ) -> None:
        self._corpus, self._on_cpu = corpus, on_cpu
        self.settings = settings or ProxySettings()
        self._store = CheckpointStore(checkpoints) if checkpoints is not None else None
        self.last_run: RunCounts | None = None

    def run(self, trial: Trial, report: Report) -> None:
        """Train, reporting nats/token per domain at every rung (those of a reused prefix too).

        Raises:
            TrialError: If the loss is not finite or above that of guessing, the trial does not fit
                the settings or the device's memory.
            CorpusError: If the schedule names a domain that the corpus lacks or that is too short.
        """
        start = time.monotonic()
        with cpu_threads(self.settings.threads), memory_errors(trial):
            run = TrialRun(trial, self.corpus(), self.settings, self._store, self._on_cpu)
            reused = run.step
            for tokens, values in run.measured:
                report(observations_of(trial, tokens, values, trial.split))
            while run.step < run.plan.steps:
                run.advance()
                if run.step in run.plan.rungs:
                    report(observations_of(trial, *run.measured[-1], trial.split))
            if trial.split != Split.validation:
                # Where the search's predictions can be held against this run.
                values = run.evaluate(Split.validation)
                report(observations_of(trial, run.measured[-1][0], values, Split.validation))
        self.last_run = run.counts(reused=reused, seconds=time.monotonic() - start)

    def reading(self, corpus: TokenSource) -> ProxyTrainer:
        """The same trainer with its tokens from elsewhere."""
        checkpoints = None if self._store is None else self._store.place
        return ProxyTrainer(corpus, self.settings, checkpoints, self._on_cpu)

    @property
    def on_cpu(self) -> Products | None:
        """Type of products on CPU where the settings leave it open; None to try it out."""
        return self._on_cpu

    def corpus(self) -> TokenSource:
        """The corpus, opened where that was not done yet."""
        if isinstance(self._corpus, (str, Path)):
            self._corpus = Corpus.open(self._corpus)
        return self._corpus


def observations_of(
    trial: Trial, tokens: int, values: Mapping[str, float], split: Split
) -> list[Observation]:
    """One rung's losses as observations of a trial."""
    return [
        Observation(trial=trial.id, tokens=tokens, metric=name, value=value, split=split)
        for name, value in values.items()
    ]


class TrialRun:
    """The state of one run, moved on step by step."""

    def __init__(
        self,
        trial: Trial,
        corpus: TokenSource,
        settings: ProxySettings,
        store: CheckpointStore | None = None,
        on_cpu: Products | None = None,
    ) -> None:
        self.settings, self.store, self.trial = settings, store, trial
        self.device = settings.resolved_device()
        self.plan: StepPlan = plan_steps(trial, settings)
        self.vocab_size = corpus.vocab_size
        shape = architecture(trial.fidelity.parameters)
        self.dtype = products_dtype(shape, settings, corpus.vocab_size, self.device, on_cpu)
        text = {name: corpus.tokens(name, "train") for name in corpus.domains}
        # Of all domains alike, whatever the mixture: it must favour none.
        bias = unigram_bias(text.values(), corpus.vocab_size)
        model = Proxy(shape, corpus.vocab_size, settings.context, trial.seed, bias)
        self.model = model.to(self.device)
        self.optimizer = adamw(self.model, settings)
        self.sampler = MixtureSampler(
            text, self.plan.shares, self.plan.sequences, settings.context, trial.seed
        )
        self.corpus, self.split = corpus, trial.split
        self.windows = self._windows(trial.split)
        self.keys = self.plan.prefix_keys(self._header(trial, corpus, shape.model_dump()))
        self.step = 0
        self.losses: list[torch.Tensor] = []
        self.measured: list[tuple[int, dict[str, float]]] = []
        self._resume()

    def _header(self, trial: Trial, corpus: TokenSource, shape: dict[str, int]) -> dict[str, Any]:
        """What every prefix of the run depends on, besides data and rates."""
        used = {"context", "batch", "weight_decay", "clip", "betas", "evaluation_tokens", "threads"}
        return {
            "recipe": RECIPE,
            "torch": torch.__version__,
            "instructions": torch.backends.cpu.get_cpu_capability(),  # they decide the rounding
            "corpus": corpus.fingerprint,
            "shape": shape,
            "seed": trial.seed,
            "split": trial.split.value,
            "settings": self.settings.model_dump(mode="json", include=used),
            "device": self.device.type,
            "dtype": str(self.dtype),
        }

    def _resume(self) -> None:
        """Start from the longest prefix that some earlier run has left behind."""
        snapshot = self.store.longest(self.keys, self.device) if self.store else None
        if snapshot is None:
            return
        self.model.load_state_dict(snapshot.model)
        self.optimizer.load_state_dict(snapshot.optimizer)
        self.losses = list(snapshot.losses.unbind())
        self.measured = [(tokens, dict(values)) for tokens, values in snapshot.measured]
        self.step = snapshot.step

    def advance(self) -> None:
        """Train one step; measure and keep a checkpoint where the plan says so."""
        ids = torch.from_numpy(self.next_batch()).to(self.device)
        rate = float(self.plan.rates[self.step])
        self.stepped(
            train_step(self.model, self.optimizer, ids, rate, self.settings.clip, self.dtype)
        )
        if self.step in self.plan.rungs:
            self.measured_at_rung(self.evaluate(self.split))
        if self.step in self.plan.branches and self.store:
            self.store.save(self.keys[self.step], self._snapshot())

    def next_batch(self) -> NDArray[np.int64]:
        """The sequences of the next step, ``B x (context + 1)``."""
        first = self.plan.sequences_after(self.step)
        return self.sampler.batch(first, self.plan.sequences_after(self.step + 1) - first)

    def stepped(self, loss: torch.Tensor) -> None:
        """Count a step that was made, and look at its losses now and then.

        Raises:
            TrialError: If one is not finite, or a rung is reached at a loss above that of guessing.
        """
        self.losses.append(loss)
        self.step += 1
        rung = self.step in self.plan.rungs
        if rung or self.step in self.plan.branches or self.step % _LOOK == 0:
            self._need_finite()
        if rung:
            self._need_learning()

    def measured_at_rung(self, values: dict[str, float]) -> None:
        """Keep a rung's losses; the training losses of the next one are counted anew."""
        self.measured.append((self.plan.tokens_after(self.step), values))
        self.losses = []

    def evaluate(self, split: Split) -> dict[str, float]:
        """The loss on every domain's held-out documents of a split (nats/token).

        Raises:
            TrialError: If one is not finite.
        """
        with autocast(self.device, self.dtype):
            values = measure(self.model, self.windows_of(split), self.settings.batch)
        return self.finite(values)

    def finite(self, values: dict[str, float]) -> dict[str, float]:
        """The same losses.

        Raises:
            TrialError: If one is not finite.
        """
        bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise self._diverged(f"the validation loss on {bad!r} must be finite")
        return values

    def counts(self, *, reused: int, seconds: float) -> RunCounts:
        """What the run cost.

        Args:
            reused: Steps taken from a checkpoint.
            seconds: Wall time.
        """
        kept = self.plan.tokens_after(reused)
        return RunCounts(
            tokens_trained=self.plan.tokens_after(self.step) - kept,
            tokens_reused=kept,
            seconds=seconds,
            parameters=self.model.parameter_count,
            epochs=self.sampler.epochs(self.plan.sequences),
        )

    def windows_of(self, split: Split) -> dict[str, torch.Tensor]:
        """Per domain, the sequences of a split that are evaluated."""
        return self.windows if split == self.split else self._windows(split)

    def _windows(self, split: Split) -> dict[str, torch.Tensor]:
        """Per domain, the sequences of a split that are evaluated: all but in the search."""
        context = self.settings.context
        most = self.settings.evaluation_tokens if split == Split.validation else None
        return {
            name: torch.from_numpy(
                evaluation_windows(self.corpus.tokens(name, split.value), context, most, name)
            ).to(self.device)
            for name in self.corpus.domains
        }

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            step=self.step,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            losses=torch.stack(self.losses) if self.losses else torch.empty(0),
            measured=self.measured,
        )

    def _need_finite(self) -> None:
        recent = torch.stack(self.losses[-_LOOK:]) if self.losses else torch.zeros(1)
        if not bool(torch.isfinite(recent).all()):
            raise self._diverged("the training loss must be finite")

    def _need_learning(self) -> None:
        """A run whose training loss is above that of guessing has diverged."""
        mean = float(torch.stack(self.losses).mean()) if self.losses else 0.0
        guessing = math.log(self.vocab_size)
        if mean > guessing + 1:
            raise self._diverged(
                f"the training loss must fall below guessing ({guessing:.2f} nats/token); its mean "
                f"since the last rung is {mean:.2f}"
            )

    def _diverged(self, what: str) -> TrialError:
        rate = float(self.plan.rates[: self.step].max())
        return TrialError(
            f"{what}; trial {self.trial.id} diverged after {self.plan.tokens_after(self.step):,} "
            f"tokens at a learning rate of up to {rate:g}",
            "lower the peak learning rate, or lengthen the warm-up",
        )


@contextlib.contextmanager
def memory_errors(trial: Trial) -> Iterator[None]:
    """Turn a device's lack of memory into a failure that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrialError(
            f"a proxy must fit into the device's memory; {trial.id} with "
            f"{trial.fidelity.parameters:,} parameters does not: {error}",
            "lower the batch or the context, or give each trial a larger share of the GPU",
        ) from error
