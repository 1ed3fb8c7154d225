"""mixopt: an optimizer of training-data mixtures for language models."""

from __future__ import annotations

__version__ = "0.1.0"
