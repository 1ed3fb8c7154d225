"""The metrics' own units, so that one set of priors serves losses of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.laws._arrays import Array


@dataclass(frozen=True)
class Units:
    """``low`` = smallest loss minus one sd, and ``sd`` (both nats/token, ``m`` each)."""

    low: Any
    sd: Any

    @classmethod
    def of(cls, Y: Array) -> Units:
        """From ``n x m`` losses; a constant metric gets a small sd relative to its level."""
        sd = Y.std(0)
        sd = np.maximum(sd, 1e-3 * np.maximum(np.abs(Y.mean(0)), 1e-3))
        return cls(Y.min(0) - sd, sd)
