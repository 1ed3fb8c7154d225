"""The mixture sampler: a schedule over domains to sequences of tokens, with random access."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixopt.corpus.permutation import permuted
from mixopt.corpus.quota import quota_order
from mixopt.corpus.store import Corpus
from mixopt.errors import CorpusError

_BLOCK = 4096


@runtime_checkable
class _PhaseLike(Protocol):
    @property
    def fraction(self) -> float: ...
    @property
    def mixture(self) -> Any: ...


@runtime_checkable
class _ScheduleLike(Protocol):
    @property
    def phases(self) -> Sequence[_PhaseLike]: ...


Phases: TypeAlias = Sequence[tuple[float, Mapping[str, float]]]


class MixtureSampler:
    """Sequences of ``context + 1`` tokens by index, drawn from domains by a schedule.

    Within each phase, after any number k of its sequences, a domain of weight w has given k·w
    sequences within one. (Across P phases the errors may add up to less than P: a bound of one
    over phases is impossible when a weight falls to zero, because a domain of weight zero is never
    drawn.) A domain's tokens are cut into windows that share one token with the next; each epoch
    visits them all once in an order drawn from seed, domain and epoch. The position in a domain
    carries over from phase to phase. Sequence i therefore depends only on the seed, the text and
    the schedule up to i: a run that branches off another's checkpoint sees the sequences it would
    have seen straight through, whatever the later phases are.

    Planning is lazy: asking for sequence i costs O(i log d) once (about a microsecond per
    sequence), O(1) after, and 5 bytes or so of memory per sequence planned.

    Args:
        source: A corpus (its training split is used) or arrays of token ids by domain.
        schedule: A schedule with ``phases`` (each with ``fraction`` and ``mixture``), or pairs of
            fraction and weights by domain; domains left out weigh zero.
        total_sequences: Sequences of the whole schedule.
        context: Tokens of input per sequence.
        seed: Decides window orders and ties.

    Raises:
        CorpusError: Fractions or weights are negative or do not sum to 1, a domain is unknown or
            holds fewer than ``context + 1`` tokens, or a size is not positive.
    """

    def __init__(
        self,
        source: Corpus | Mapping[str, NDArray[Any]],
        schedule: _ScheduleLike | Phases,
        total_sequences: int,
        context: int,
        seed: int,
    ) -> None:
        if total_sequences < 1 or context < 1:
            raise CorpusError(
                f"total_sequences and context must be at least 1, got {total_sequences} and "
                f"{context}.",
                "Raise the training tokens of the trial or shorten the context.",
            )
        self._tokens = _token_arrays(source)
        self.domains = tuple(self._tokens)
        self.total_sequences = total_sequences
        self.context = context
        self.seed = seed
        self._windows = {name: (len(ids) - 1) // context for name, ids in self._tokens.items()}
        phases = _checked_phases(_as_phases(schedule), self.domains)
        self._weights = [weights for _, weights in phases]
        self._ends = _phase_ends([fraction for fraction, _ in phases], total_sequences)
        self._check_lengths()
        self._rank = _ranks(self.domains, seed)
        self._planned = np.empty(0, dtype=np.int32)
        self._draws = np.empty(0, dtype=np.int64)
        self._taken = np.zeros(len(self.domains), dtype=np.int64)
        self._iterator = quota_order(self._weights[0], self._rank)
        self._phase = -1

    def _check_lengths(self) -> None:
        for j, name in enumerate(self.domains):
            if self._windows[name] < 1 and any(weights[j] > 0 for weights in self._weights):
                raise CorpusError(
                    f"Domain {name!r} must hold at least context + 1 = {self.context + 1} training "
                    f"tokens, got {len(self._tokens[name])}.",
                    "Give it more text, shorten the context, or set its weight to 0.",
                )

    @property
    def phase_ends(self) -> tuple[int, ...]:
        """Sequences after which each phase ends.

        Rounded from the cumulative fractions, so an end depends on no later phase.
        """
        return self._ends

    def batch(self, start: int, size: int) -> NDArray[np.int64]:
        """Sequences ``start`` to ``start + size - 1`` (``size x (context + 1)``, token ids).

        Raises:
            CorpusError: The range leaves the schedule.
        """
        self._check_range(start, start + size)
        self._plan(start + size)
        out = np.empty((size, self.context + 1), dtype=np.int64)
        planned, draws = self._planned[start : start + size], self._draws[start : start + size]
        columns = np.arange(self.context + 1)
        for j in np.unique(planned):
            rows = np.flatnonzero(planned == j)
            name = self.domains[j]
            first = self._window_numbers(name, draws[rows]) * self.context
            out[rows] = self._tokens[name][first[:, None] + columns]
        return out

    def counts(self, upto: int) -> dict[str, int]:
        """Sequences of each domain among the first ``upto``."""
        self._check_range(0, upto)
        self._plan(upto)
        counts = np.bincount(self._planned[:upto], minlength=len(self.domains))
        return {name: int(count) for name, count in zip(self.domains, counts, strict=True)}

    def offsets(self, upto: int) -> dict[str, int]:
        """Tokens drawn from each domain by the first ``upto`` sequences."""
        return {name: count * self.context for name, count in self.counts(upto).items()}

    def epochs(self, upto: int) -> dict[str, float]:
        """Passes over each domain's windows made by the first ``upto`` sequences."""
        return {
            name: count / self._windows[name] if count else 0.0
            for name, count in self.counts(upto).items()
        }

    def _check_range(self, start: int, end: int) -> None:
        if not 0 <= start <= end <= self.total_sequences:
            raise CorpusError(
                f"Sequences must lie in 0..{self.total_sequences}, got {start}..{end}.",
                "Ask for no more sequences than the schedule holds.",
            )

    def _plan(self, upto: int) -> None:
        """Extend the plan, a block at a time, until it covers ``upto`` sequences."""
        while len(self._planned) < upto:
            start = len(self._planned)
            phase = next(p for p, end in enumerate(self._ends) if end > start)
            if phase != self._phase:
                self._phase = phase
                self._iterator = quota_order(self._weights[phase], self._rank)
            # Blocks grow with the plan, so that joining them costs linear time in all.
            size = min(max(_BLOCK, start), self._ends[phase] - start)
            block = np.fromiter(self._iterator, dtype=np.int32, count=size)
            draws = np.empty(size, dtype=np.int64)
            for j in range(len(self.domains)):
                rows = np.flatnonzero(block == j)
                draws[rows] = self._taken[j] + np.arange(len(rows))
                self._taken[j] += len(rows)
            self._planned = np.concatenate([self._planned, block])
            self._draws = np.concatenate([self._draws, draws])

    def _window_numbers(self, name: str, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        epochs, places = np.divmod(draws, self._windows[name])
        out = np.empty(len(draws), dtype=np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            key = _entropy(self.seed, name, int(epoch))
            out[rows] = permuted(places[rows], self._windows[name], key)
        return out


def _token_arrays(source: Corpus | Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if isinstance(source, Corpus):
        return {name: source.tokens(name, "train") for name in source.domains}
    return dict(source)


def _as_phases(schedule: _ScheduleLike | Phases) -> list[tuple[float, Mapping[str, float]]]:
    if isinstance(schedule, _ScheduleLike):
        return [
            (phase.fraction, getattr(phase.mixture, "weights", phase.mixture))
            for phase in schedule.phases
        ]
    return [(fraction, weights) for fraction, weights in schedule]


def _checked_phases(
    phases: list[tuple[float, Mapping[str, float]]], domains: tuple[str, ...]
) -> list[tuple[float, list[float]]]:
    _check_shares("The fractions of the phases", [fraction for fraction, _ in phases])
    checked = []
    for number, (fraction, mixture) in enumerate(phases, start=1):
        unknown = sorted(set(mixture) - set(domains))
        if unknown:
            raise CorpusError(
                f"Phase {number} weighs domains that the corpus lacks: {', '.join(unknown)}.",
                f"The corpus holds {', '.join(domains)}.",
            )
        weights = [float(mixture.get(name, 0.0)) for name in domains]
        _check_shares(f"The weights of phase {number}", weights)
        total = math.fsum(weights)
        checked.append((float(fraction), [weight / total for weight in weights]))
    return checked


def _check_shares(what: str, values: Sequence[float]) -> None:
    total = math.fsum(values)
    if any(not value >= 0 for value in values) or not abs(total - 1) <= 1e-6:
        shown = ", ".join(f"{value:g}" for value in values)
        raise CorpusError(
            f"{what} must be at least 0 and sum to 1, got {shown} (sum {total:g}).",
            "Divide them by their sum.",
        )


def _phase_ends(fractions: Sequence[float], total: int) -> tuple[int, ...]:
    ends = [math.floor(math.fsum(fractions[: p + 1]) * total + 0.5) for p in range(len(fractions))]
    # The fractions sum to 1 but for rounding.
    return (*ends[:-1], total)


def _entropy(*parts: object) -> int:
    """A seed drawn from names and numbers, the same in every process."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def _ranks(domains: Sequence[str], seed: int) -> list[int]:
    """A seeded order of the domains that does not depend on the order they are given in."""
    shuffled = sorted(domains, key=lambda name: _entropy(seed, "tie", name))
    return [shuffled.index(name) for name in domains]
