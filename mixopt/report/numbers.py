"""Numbers as text, the same on the terminal and in the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixopt.propose import Estimate
    from mixopt.space import Fidelity
    from mixopt.space.effect import Effect

#: What is not known.
DASH = "–"


def value(x: float | None, digits: int = 4) -> str:
    """A loss in nats per token, or any metric."""
    return DASH if x is None or not math.isfinite(x) else f"{x:.{digits}f}"


def signed(x: float | None, digits: int = 4) -> str:
    """A difference, with its sign."""
    return DASH if x is None or not math.isfinite(x) else f"{x:+.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{low:.4f}, {high:.4f}]".replace("-", "−")


def change(x: Estimate | Effect) -> tuple[str, str]:
    """A difference and its interval, with their signs."""
    return signed(x.mean), f"[{signed(x.low)}, {signed(x.high)}]"


def share(x: float | None) -> str:
    """A weight or fraction in per cent."""
    if x is None or not math.isfinite(x):
        return DASH
    if x == 0:
        return "0"
    return "< 0.1 %" if x < 0.0005 else f"{100 * x:.1f} %"


def ratio(x: float | None) -> str:
    """An upsampling ratio: ``new`` for a domain that only the last phase has."""
    if x is None or math.isnan(x):
        return DASH
    if math.isinf(x):
        return "new"
    return "dropped" if x == 0 else f"× {x:.2f}"


def times(x: float | None) -> str:
    """Epochs."""
    return DASH if x is None or not math.isfinite(x) else f"{x:.2f}" if x < 100 else f"{x:.0f}"


def count(x: float | None) -> str:
    """Tokens or parameters in thousands, millions, billions, trillions."""
    if x is None or not math.isfinite(x):
        return DASH
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{unit}"
    return f"{x:.3g}"


def flops(x: float | None) -> str:
    """Floating-point operations in powers of ten."""
    if x is None or not math.isfinite(x):
        return DASH
    return f"{x:.2e}".replace("e+", "e")


def duration(seconds: float | None) -> str:
    """Seconds as the two units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    return f"{s // 3600} h {s % 3600 // 60} min"


def plain(x: Any) -> Any:
    """Anything as JSON can hold it: not-a-number and infinities become null."""
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x


def fidelity(size: Fidelity) -> str:
    """The size of a run."""
    return f"{count(size.parameters)} parameters on {count(size.tokens)} tokens"
