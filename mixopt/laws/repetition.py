"""What repeated tokens are worth (Muennighoff et al., arXiv 2305.16264, equation 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array, namespace
from mixopt.space.geometry.layout import Repetition

#: Epochs after which a repeated token has lost most of its worth, fitted on whole-corpus repeats.
R_STAR = 15.39


def effective_tokens(tokens: Array, available: Array, r_star: float | Array = R_STAR) -> Array:
    """Fresh tokens that would be worth as much as what was read.

    D' = U + U R* (1 - exp(-R / R*)), with U unique tokens and R = epochs - 1 repeats.

    Args:
        tokens: Tokens drawn per domain, any shape.
        available: Tokens the domain has; infinity where it cannot run out.
        r_star: R*, for all domains or each its own.

    Returns:
        Effective tokens, never more than drawn.

    Raises:
        SurrogateError: If a domain has no tokens, or tokens are negative.
    """
    tokens, available = np.broadcast_arrays(
        np.asarray(tokens, dtype=float), np.asarray(available, dtype=float)
    )
    if (tokens < 0).any() or (available <= 0).any():
        raise SurrogateError(
            f"tokens must not be negative and available tokens must be positive; got "
            f"{tokens.min():g} and {available.min():g}",
            "leave domains without text out of the space",
        )
    unique = np.minimum(tokens, available)
    repeats = np.where(np.isfinite(available), np.maximum(tokens / available - 1.0, 0.0), 0.0)
    return np.asarray(unique - unique * r_star * np.expm1(-repeats / r_star))


def worth_per_token(tokens: Array, available: Array, r_star: float | Array = R_STAR) -> Array:
    """Effective tokens over tokens drawn, 1 where none were drawn."""
    tokens = np.asarray(tokens, dtype=float)
    effective = effective_tokens(tokens, available, r_star)
    return np.where(tokens > 0, effective / np.where(tokens > 0, tokens, 1.0), 1.0)


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
    epochs = xp.where(epochs > 1.0, epochs, xp.ones_like(epochs))
    worth = (1.0 - r * xp.expm1(-(epochs - 1.0) / r)) / epochs
    return W * worth[..., None, :]
