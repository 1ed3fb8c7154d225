"""What repeated tokens are worth (Muennighoff et al., arXiv 2305.16264, equation 5)."""

from __future__ import annotations

from typing import Any

from mixopt.laws._arrays import namespace
from mixopt.space.geometry.layout import Repetition


def worth_per_token(epochs: Any, r_star: Any) -> Any:
    """Fresh tokens worth as much as those drawn, over those drawn, 0 to 1.

    D' / D with D' = U + U R* (1 - exp(-R / R*)), U unique tokens and R = epochs - 1 repeats.

    Args:
        epochs: Tokens drawn over tokens available, any shape (numpy or torch).
        r_star: R*, epochs after which a repeated token has lost most of its worth.
    """
    xp = namespace(epochs)
    read = xp.where(epochs > 1.0, epochs, xp.ones_like(epochs))
    return (1.0 - r_star * xp.expm1(-(read - 1.0) / r_star)) / read


def effective_weights(repetition: Repetition | None, W: Any, F: Any, tokens: float) -> Any:
    """Weights in which a repeated token counts for what it is worth.

    Each domain's weights are scaled, in all phases alike, by what its tokens are worth on average
    over the whole run. They no longer sum to 1 where a domain is read more than once: what is
    missing is what the repeats fail to teach.

    Args:
        repetition: Available tokens and R* per domain; None to leave the weights as they are.
        W: ``... x P x d`` weights.
        F: ``... x P`` fractions.
        tokens: Of the run.

    Returns:
        ``... x P x d`` (numpy or torch, as given).
    """
    if repetition is None or tokens <= 0:
        return W
    xp = namespace(W)
    per_epoch = xp.asarray([tokens / a for a in repetition.available], dtype=W.dtype)
    r = xp.asarray(repetition.r_star, dtype=W.dtype)
    epochs = (W * F[..., None]).sum(-2) * per_epoch
    return W * worth_per_token(epochs, r)[..., None, :]
