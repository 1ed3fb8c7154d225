"""Domains, and mixtures: points on the simplex over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_core import core_schema

from mixopt.errors import SpaceError
from mixopt.space.complaints import shown
from mixopt.space.model import Frozen

SUM_TOLERANCE = 1e-6

Array = NDArray[np.float64]


class Domain(Frozen):
    """A training data source with one weight.

    Attributes:
        name: The domain's name.
        tokens: Tokens available; None when the supply does not matter.
        max_epochs: Cap on epochs at the target, over the whole schedule; None for the space's own.
        r_star: Epochs after which a repeated token has lost most of its worth; None for the
            space's own.
        path: The place of the tokenised data, for a trainer (a prefix, for Megatron).
        source: The origin of the token count.
    """

    name: Annotated[str, Field(min_length=1)]
    tokens: Annotated[int, Field(gt=0, examples=["800B"])] | None = None
    max_epochs: Annotated[float, Field(gt=0, examples=[4])] | None = None
    r_star: Annotated[float | None, Field(gt=0, exclude_if=lambda value: value is None)] = None
    path: str | None = None
    source: str | None = None


class Mixture(Mapping[str, float]):
    """Named weights that sum to 1; immutable.

    Args:
        weights: Shares of the training tokens per domain.
        where: The mixture's name in an error.

    Raises:
        SpaceError: If a weight is negative or not finite, or they do not sum to 1 within 1e-6.
    """

    __slots__ = ("_weights",)

    def __init__(self, weights: Mapping[str, float], where: str = "mixture") -> None:
        if not isinstance(weights, Mapping):
            raise SpaceError(
                f"{where} must map domains to weights; got {shown(weights)}",
                "write {'web': 0.7, 'code': 0.3}",
            )
        if not weights:
            raise SpaceError(f"{where} has no domains", "name at least one domain and its weight")
        for name, value in weights.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
                raise SpaceError(
                    f"the weight of {name!r} in {where} must be a number; got {value!r}",
                    "write weights as shares such as 0.25",
                )
            if not np.isfinite(value) or value < 0:
                raise SpaceError(
                    f"the weight of {name!r} in {where} must be at least 0; got {value!r}",
                    "weights are shares of training tokens",
                )
        total = float(sum(weights.values()))
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise SpaceError(
                f"the weights of {where} must sum to 1; they sum to {total:.6g}",
                "divide by their sum, or call Mixture.normalized",
            )
        # Rounding below the tolerance is removed once, here. What is left of it afterwards is not
        # divided again, so that weights that were written and read back stay the same floats.
        scale = 1.0 if abs(total - 1.0) < 1e-12 else total
        self._weights = {str(name): float(value) / scale for name, value in weights.items()}

    @classmethod
    def normalized(cls, amounts: Mapping[str, float], where: str = "mixture") -> Mixture:
        """Divide amounts (tokens, say) by their sum.

        Raises:
            SpaceError: If the amounts do not have a positive sum or one is negative.
        """
        total = float(sum(amounts.values()))
        if not total > 0:
            raise SpaceError(
                f"the amounts of {where} must have a positive sum; it is {total:g}",
                "give at least one domain a positive amount",
            )
        return cls({name: value / total for name, value in amounts.items()}, where)

    @classmethod
    def uniform(cls, names: Iterable[str]) -> Mixture:
        """The same weight for every domain."""
        return cls.normalized(dict.fromkeys(names, 1.0))

    @classmethod
    def from_array(cls, names: Iterable[str], weights: Array) -> Mixture:
        """Weights ``d`` in the order of the names."""
        return cls(dict(zip(names, map(float, weights), strict=True)))

    def to_array(self, names: Iterable[str]) -> Array:
        """Weights ``d`` in the order of the names; 0 for a domain the mixture does not name."""
        return np.array([self._weights.get(name, 0.0) for name in names])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(dict)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        weight = {"type": "number", "minimum": 0, "maximum": 1}
        return {
            "type": "object",
            "additionalProperties": weight,
            "minProperties": 1,
            "examples": [{"web": 0.7, "code": 0.3}],
        }

    @classmethod
    def _read(cls, value: Any) -> Mixture:
        if isinstance(value, Mixture):
            return value
        return cls(value)

    def __getitem__(self, name: str) -> float:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __hash__(self) -> int:
        return hash(frozenset(item for item in self._weights.items() if item[1] > 0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        names = {*self, *other}
        return all(self.get(n, 0.0) == other.get(n, 0.0) for n in names)

    def __repr__(self) -> str:
        return f"Mixture({', '.join(f'{n}={w:.4g}' for n, w in self._weights.items())})"
