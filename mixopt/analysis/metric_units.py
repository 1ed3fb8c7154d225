"""Metrics from elsewhere as numbers to minimise; what their names and values leave open is asked.

A study minimises losses, in nats per token. A perplexity, bits or an accuracy that was taken for
one would be learned from without a complaint, and turn the answer around.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError

Array = NDArray[np.float64]

#: By name of the unit: how values become numbers to minimise.
UNITS: dict[str, Callable[[Array], Array]] = {
    "loss": lambda v: v,
    "bits": lambda v: v * np.log(2.0),
    "perplexity": np.log,
    "accuracy": lambda v: 1.0 - v,
    "percent": lambda v: 1.0 - v / 100.0,
}
#: Losses of language models in nats per token lie here; an accuracy or a perplexity may not.
USUAL = (1.0, 15.0)
_UNUSUAL_NAME = re.compile(
    r"(?:^|[_/. -])(acc|accuracy|score|f1|em|exact_match|bleu|rouge\w*|win_?rate|auc|pass_?at_?\w*"
    r"|ppl|perplexity|bpb|bpt|bits?\w*)(?:$|[_/. -])",
    re.IGNORECASE,
)
_LOSS_NAME = re.compile(
    r"(?:^|[_/. -])(loss|nll|ce|xent|cross_?entropy)(?:$|[_/. -])", re.IGNORECASE
)


def to_minimise(names: Mapping[str, str], units: Mapping[str, str], values: Array) -> Array:
    """Values ``n x m`` as numbers to minimise.

    Args:
        names: What each of the m metrics was called, by what it is called now.
        units: One of ``UNITS`` per metric; only metrics that are plainly losses need none.
        values: As they were logged.

    Raises:
        StudyError: If a unit is unknown or does not fit the values, or has to be given.
    """
    columns = []
    for (metric, written), column in zip(names.items(), values.T, strict=True):
        unit = units.get(metric)
        if unit is None:
            _require_plain(metric, written, column)
            unit = "loss"
        if unit not in UNITS:
            raise StudyError(
                f"the unit of {metric!r} must be one of {', '.join(UNITS)}; got {unit!r}",
                f"write --unit {metric}=perplexity, say",
            )
        columns.append(_converted(metric, unit, column))
    return np.column_stack(columns)


def _require_plain(metric: str, written: str, values: Array) -> None:
    """Refuse to guess what a metric is measured in, and whether less of it is better."""
    known = values[np.isfinite(values)]
    strange = next((n for n in (written, metric) if _UNUSUAL_NAME.search(n)), None)
    plain = any(_LOSS_NAME.search(name) for name in (written, metric))
    if strange is None and (plain or not len(known) or _usual(known)):
        return
    why = (
        f"it is called {strange!r}" if strange else f"it is {known.min():.4g} to {known.max():.4g}"
    )
    raise StudyError(
        f"whether less of {metric!r} is better, and in which unit it is, must be said: {why}",
        f"write --unit {metric}=loss where it is to be minimised as it is (nats per token), or "
        f"{metric}={', '.join(u for u in UNITS if u != 'loss')}",
    )


def _usual(values: Array) -> bool:
    return bool(values.min() >= USUAL[0] and values.max() <= USUAL[1])


def _converted(metric: str, unit: str, values: Array) -> Array:
    most = {"accuracy": 1.0, "percent": 100.0}.get(unit, np.inf)
    least = 1.0 if unit == "perplexity" else 0.0 if unit in ("accuracy", "percent") else -np.inf
    known = values[np.isfinite(values)]
    if len(known) and not (least <= known.min() and known.max() <= most):
        raise StudyError(
            f"{metric!r} as {unit} must lie from {least:g} to {most:g}; it is {known.min():.4g} to "
            f"{known.max():.4g}",
            f"give the unit that it was logged in: --unit {metric}=...",
        )
    return UNITS[unit](values)
