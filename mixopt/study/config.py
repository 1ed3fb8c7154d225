"""What makes a study the one it is, and what differs when it is opened as another."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
from pydantic import Field

from mixopt.errors import ConflictError, StudyError
from mixopt.space import Fidelity, Frozen, Objective, SearchSpace, geometry_of
from mixopt.study.budget import TrialBudget

# RegMix (Liu et al., arXiv 2407.01492): 1M-parameter proxies on 1B tokens.
DEFAULT_FIDELITY = Fidelity(parameters=1_000_000, tokens=1_000_000_000)

#: Trials per round after the initial design, where a study does not say.
ROUND = 8


class StudyConfig(Frozen):
    """What every result of a study depends on; fixed when it is created.

    Attributes:
        space: What can be chosen.
        objective: What is minimised.
        fidelity: Of every trial.
        seed: Every random draw derives from it.
        initial: Trials of the initial design, the baseline among them.
        context: Further facts the results depend on (a corpus' fingerprint, the trainer).
        fidelities: Of the trials where they differ, the cheapest first; ``fidelity`` is then the
            last. Empty where all trials are alike.
        laws: Mixing laws in the surrogate, by name; None for all.
    """

    space: SearchSpace
    objective: Objective
    fidelity: Fidelity
    seed: Annotated[int, Field(ge=0)] = 0
    initial: Annotated[int, Field(gt=0)]
    context: dict[str, Any] = {}
    fidelities: tuple[Fidelity, ...] = ()
    # Left out where nothing is chosen: such a configuration is what it was before one could.
    laws: Annotated[tuple[str, ...] | None, Field(exclude_if=lambda value: value is None)] = None

    @property
    def cheapest(self) -> Fidelity:
        """The least a trial costs."""
        return self.fidelities[0] if self.fidelities else self.fidelity

    @property
    def text(self) -> str:
        """The same for equal configurations, whatever process wrote it.

        A study of one fidelity reads as it did before there could be several.
        """
        facts = self.model_dump(mode="json")
        if not self.fidelities:
            del facts["fidelities"]
        return json.dumps(facts, sort_keys=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Configured:
    """What a study and its snapshots say of their configuration."""

    config: StudyConfig

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return self.config.space

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return self.config.objective

    @property
    def fidelity(self) -> Fidelity:
        """Of the trials; the highest where they differ."""
        return self.config.fidelity

    @property
    def seed(self) -> int:
        """The seed that every random draw derives from."""
        return self.config.seed


class SearchSettings(Frozen):
    """How a study searches, as its keywords and its file give it.

    Attributes:
        batch: Trials per round after the initial design, or ``rolling``: a trial is proposed as
            soon as one ends, with those in flight as pending.
        confirm_seeds: Fresh seeds per confirmed schedule; 0 for no confirmation runs.
        patience: Rounds in a row that must say so before the search stops by expected regret.
        replicates: Trials of each round that repeat the leading schedule with a fresh seed, or
            ``auto``: up to half of them, where noise decides between the leaders.
        retries: How often a trial is run again after its worker died.
        most_failures: Failed trials in a row after which the search ends with what it has.
        seed_blocks: Seeds that the trials are spread over; those of one seed share initial weights
            and order of data.
        early_stop: Whether trials are ended at a rung where they cannot become the best, or their
            rest is not worth its tokens; see ``mixopt.study.early_ends``.
    """

    batch: Annotated[int, Field(gt=0)] | Literal["rolling"] = ROUND
    confirm_seeds: Annotated[int, Field(ge=0)] = 3
    patience: Annotated[int, Field(ge=1)] = 2
    replicates: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    retries: Annotated[int, Field(ge=0)] = 1
    most_failures: Annotated[int, Field(gt=0)] = 8
    seed_blocks: Annotated[int, Field(gt=0)] = 3
    early_stop: bool = False


class StudySettings(SearchSettings):
    """What may change from one run of a study to the next.

    Attributes:
        budget: Totals at which the search stops; None to stop by expected regret alone.
        flops_per_token: By parameters, the FLOPs that a token of training takes, where a trainer
            counts them; 6 per parameter for sizes not named.
        devices_per_trial: The devices that one trial occupies: what a device-hour counts.
    """

    budget: TrialBudget | None = None
    flops_per_token: dict[int, Annotated[float, Field(gt=0)]] = {}
    devices_per_trial: Annotated[float, Field(gt=0)] = 1.0

    @property
    def round_size(self) -> int:
        """Trials per round; where proposals roll, per decision whether more of them pay."""
        return ROUND if self.batch == "rolling" else self.batch

    def flops(self, fidelity: Fidelity) -> float:
        """Training FLOPs of a run."""
        per_token = self.flops_per_token.get(fidelity.parameters)
        return fidelity.flops if per_token is None else per_token * fidelity.tokens


class SettingsGiven(TypedDict, total=False):
    """The keywords of ``StudySettings``, for type checkers."""

    budget: TrialBudget | None
    batch: int | Literal["rolling"]
    confirm_seeds: int
    patience: int
    replicates: int | Literal["auto"]
    retries: int
    most_failures: int
    seed_blocks: int
    early_stop: bool
    flops_per_token: Mapping[int, float]
    devices_per_trial: float


def default_initial(space: SearchSpace) -> int:
    """Trials of the initial design: two more than there are free weights and searched rates."""
    geometry = geometry_of(space)
    return geometry.free_weights + len(geometry.rate_axes) + 2


def require_given(name: Any, space: Any, objective: Any, fidelities: Any) -> None:
    """Refuse what no study can be made of, before anything is stored.

    Raises:
        StudyError: Naming the argument, and what it must be.
    """
    wanted = {
        "name": (isinstance(name, str) and name != "", "a text that is not empty", "'first'"),
        "space": (
            isinstance(space, SearchSpace),
            "a SearchSpace",
            "SearchSpace.from_yaml('space.yaml')",
        ),
        "objective": (
            isinstance(objective, Objective | Mapping),
            "an Objective, or a weight per metric",
            "{'web': 0.5, 'code': 0.5}",
        ),
        "fidelities": (
            isinstance(fidelities, Sequence) and all(isinstance(f, Fidelity) for f in fidelities),
            "a list of Fidelity",
            "[Fidelity(parameters=1_000_000, tokens=20_000_000)]",
        ),
    }
    for argument, (given, what, example) in wanted.items():
        if not given:
            raise StudyError(f"the {argument} of a study must be {what}", f"give {example}")


def require_comparable(objective: Objective, sizes: Sequence[Fidelity]) -> None:
    """Refuse objectives that a study could not compare its trials by.

    Raises:
        StudyError: If a scale needs the baseline's values, or other metrics than losses would have
            to be carried from one fidelity to another.
    """
    if objective.scale == "baseline":
        raise StudyError(
            "a study's values must mean the same from its first trial on; the scale is baseline",
            "give the baseline's values as numbers, as scale: {web: 2.9, gsm8k: 0.15}",
        )
    if len(sizes) > 1:
        objective.require_losses()


def ordered_fidelities(
    fidelities: Sequence[Fidelity], fidelity: Fidelity | None
) -> tuple[Fidelity, ...]:
    """Different fidelities, cheapest first; none where there is only one to choose from.

    Raises:
        StudyError: If another than the highest is given as the one fidelity beside several.
    """
    found = tuple(sorted(set(fidelities), key=lambda f: (f.flops, f.parameters)))
    if found and fidelity is not None and fidelity != found[-1]:
        raise StudyError(
            f"a study takes `fidelity` or `fidelities`; got {named(fidelity)} beside "
            f"{', '.join(map(named, found))}",
            "leave `fidelity` out: confirmation runs are made at the highest of `fidelities`",
        )
    return found


def named(fidelity: Fidelity) -> str:
    """A fidelity in words."""
    return f"{fidelity.parameters:,} parameters x {fidelity.tokens:,} tokens"


def require_same(name: str, stored: str, given: StudyConfig) -> None:
    """Refuse to go on with a study under another configuration.

    Raises:
        StudyError: Naming the first keys that differ, with both values.
    """
    was = json.loads(stored)
    now = json.loads(given.text)
    for config in (was, now):
        config["context"] = essential(config["context"])
    found = list(differences(was, now))
    if not found:
        return
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    raise ConflictError(
        f"the study {name!r} is stored with another configuration: {'; '.join(found[:3])}{more}",
        "its results depend on these: give the new study another name or storage",
    )


def essential(context: Mapping[str, Any]) -> dict[str, Any]:
    """A study's context without what may change while it runs.

    That is a trainer's time limit, and where the files of its command lie.
    """
    trainer = context.get("trainer")
    if not isinstance(trainer, Mapping):
        return dict(context)
    kept = {k: v for k, v in trainer.items() if k != "timeout"}
    if "command" in kept:
        kept["command"] = re.sub(r"[^\s'\"=]*/", "", str(kept["command"]))
    return {**context, "trainer": kept}


def differences(stored: Any, given: Any, place: str = "") -> Iterator[str]:
    """Each place where two JSON values differ, as ``key: was stored, is given``."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for key in dict.fromkeys([*stored, *given]):
            below = f"{place}.{key}" if place else str(key)
            yield from differences(stored.get(key), given.get(key), below)
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        for index, (a, b) in enumerate(zip(stored, given, strict=True)):
            label = a["name"] if isinstance(a, dict) and "name" in a else index
            yield from differences(a, b, f"{place}[{label}]")
    elif stored != given:
        yield f"{place} was {_short(stored)}, now {_short(given)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def derived_seed(seed: int, *words: str) -> int:
    """A seed in [0, 2**31) from the study's seed and words, the same in every process.

    It is the first word of ``numpy.random.SeedSequence([seed, *h])``, where h are the eight 32-bit
    words of the SHA-256 of the words joined by ``/``.
    """
    digest = hashlib.sha256("/".join(words).encode()).digest()
    entropy = [seed, *np.frombuffer(digest, dtype=">u4").tolist()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
