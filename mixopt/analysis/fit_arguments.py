"""What is asked of finished runs, as people write it on the command line and in Python alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Guardrail, LearningRate, Metric, MetricKind
from mixopt.space.written_numbers import read_number
from mixopt.surrogate import RunRule


def parse_amount(text: str, where: str) -> float:
    """Read ``410M``, ``1B`` or ``1e9``.

    Raises:
        StudyError: If it is no positive number.
    """
    value = read_number(text)
    if value is None or not (math.isfinite(value) and value > 0):
        raise StudyError(f"{where} takes a positive number; got {text!r}", "write 410M, 1B or 1e9")
    return value


def parse_target(text: str) -> Fidelity:
    """Read ``PARAMETERS:TOKENS``.

    Raises:
        StudyError: If it is not of that form.
    """
    parameters, colon, tokens = text.partition(":")
    if not colon:
        raise StudyError(f"--target takes PARAMETERS:TOKENS; got {text!r}", "write 1B:100B")
    sizes = [round(parse_amount(part, "--target")) for part in (parameters, tokens)]
    return Fidelity(parameters=sizes[0], tokens=sizes[1])


def parse_rule(text: str) -> RunRule:
    """Read ``SHAPE:horizon=TOKENS,warmup=SHARE,final=SHARE``; the rate falls after the warm-up.

    Raises:
        StudyError: If the horizon is missing or a part is not known.
    """
    shape, _, rest = text.partition(":")
    parts = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(parts) - {"horizon", "warmup", "final"})
    if unknown or "horizon" not in parts:
        raise StudyError(
            f"--rate takes SHAPE:horizon=TOKENS,warmup=SHARE,final=SHARE; got {text!r}",
            "write cosine:horizon=100B,warmup=0.02,final=0.1",
        )
    warmup, final = (_share(parts.get(name, "0"), name, text) for name in ("warmup", "final"))
    rate = LearningRate(warmup=warmup, decay=1.0 - warmup, shape=shape, final=final)
    return RunRule(rate, parse_amount(parts["horizon"], "--rate"))


def _share(text: str, name: str, where: str) -> float:
    value = read_number(text)
    if value is None or not 0 <= value <= 1:
        raise StudyError(
            f"{name} of --rate must be a share from 0 to 1; got {text!r} in {where!r}",
            "write warmup=0.02 for 2 %",
        )
    return float(value)


def parse_weights(parts: Sequence[str], where: str) -> dict[str, float]:
    """Read ``NAME=WEIGHT`` parts; one bare name has all the weight.

    Raises:
        StudyError: If a part is not of that form or names something twice.
    """
    if len(parts) == 1 and "=" not in parts[0]:
        return {parts[0]: 1.0}
    weights: dict[str, float] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name in weights:
            raise StudyError(f"{where} names {name!r} twice", "keep one of them")
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = math.nan
        if not name or not math.isfinite(weights[name]):
            raise StudyError(f"{where} takes NAME=WEIGHT; got {part!r}", "write pile_cc=0.5")
    return weights


def parse_kinds(parts: Sequence[str]) -> dict[str, Metric]:
    """Read ``NAME=KIND``, ``NAME=accuracy:QUESTIONS`` and ``NAME=KIND:GOAL``.

    Raises:
        StudyError: If a part is not of that form.
    """
    found = {}
    for part in parts:
        name, _, text = part.rpartition("=")
        kind, *more = text.split(":")
        known = {k.value for k in MetricKind}
        goals = [word for word in more if word in ("minimize", "maximize")]
        counts = [n for word in more if isinstance(n := read_number(word), int)]
        if not name or kind not in known or len(goals) + len(counts) != len(more):
            raise StudyError(
                f"--kind takes NAME=KIND with a kind that is one of {', '.join(sorted(known))}; "
                f"got {part!r}",
                "write gsm8k=accuracy:1319 or score=identity:maximize",
            )
        facts = {"kind": kind, "goal": next(iter(goals), None), "n": next(iter(counts), None)}
        found[name] = Metric.model_validate(facts)
    return found


def parse_guardrails(parts: Sequence[str]) -> list[Guardrail]:
    """Read ``NAME=SLACK``, ``NAME<=BOUND`` and ``NAME>=BOUND``; a metric's kind says which holds.

    Raises:
        StudyError: If a part is not of that form.
    """
    rails = []
    for part in parts:
        name, sign, text = _split(part)
        value = read_number(text)
        if not name or value is None:
            raise StudyError(
                f"--guardrail takes NAME=SLACK or NAME<=BOUND; got {part!r}",
                "write web=0.02, or gsm8k>=0.15",
            )
        rails.append(
            Guardrail(metric=name, slack=value)
            if sign == "="
            else Guardrail(metric=name, bound=value)
        )
    return rails


def _split(part: str) -> tuple[str, str, str]:
    sign = next((s for s in ("<=", ">=", "=") if s in part), "=")
    name, _, text = part.rpartition(sign)
    return name.strip(), sign, text.strip()


def as_weights(given: str | Sequence[str] | Mapping[str, float], where: str) -> dict[str, float]:
    """Weights as a mapping, a name alone, or ``a=0.2,b=0.8``.

    Raises:
        StudyError: As :func:`parse_weights`.
    """
    if isinstance(given, Mapping):
        return {str(name): float(value) for name, value in given.items()}
    parts = given.split(",") if isinstance(given, str) else given
    return parse_weights([part for part in parts if part], where)
