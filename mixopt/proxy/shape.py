"""Which transformer has the number of parameters asked for, and what training it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mixopt.errors import TrialError
from mixopt.space import Frozen

TOLERANCE = 0.03
_MAX_LAYERS = 64
_FFN_RATIO = 8 / 3


class ProxyShape(Frozen):
    """The shape of a proxy.

    Attributes:
        d_model: Width of the residual stream.
        layers: Transformer blocks.
        heads: Attention heads per block.
        ffn: Inner width of the SwiGLU.
    """

    d_model: int
    layers: int
    heads: int
    ffn: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.heads

    @property
    def parameters(self) -> int:
        """Exact count of parameters without the (tied) embedding."""
        d = self.d_model
        block = 4 * d * d + 3 * d * self.ffn + 2 * d
        return self.layers * block + d


def architecture(parameters: int) -> ProxyShape:
    """The best-proportioned shape within 3 % of a count of non-embedding parameters.

    The inner width is near 8/3 of the width (SwiGLU at the cost of a plain 4x layer, Shazeer,
    arXiv 2002.05202), the width some 32 times the depth at 0.1M parameters, growing to 64 times
    at 100M.

    Raises:
        TrialError: If no shape comes within 3 %, which happens below about 700 parameters.
    """
    scored = [(_cost(shape, parameters), shape) for shape in _candidates(parameters)]
    if not scored:
        raise TrialError(
            f"a proxy needs at least about 700 non-embedding parameters; {parameters:,} were asked",
            "raise the parameters of the fidelity",
        )
    return min(scored, key=lambda pair: pair[0])[1]


def _candidates(parameters: int) -> Iterator[ProxyShape]:
    for layers in range(1, _MAX_LAYERS + 1):
        for d in _widths(math.isqrt(parameters // (4 * layers)) + 1):
            ffn = round(((parameters - d) / layers - 4 * d * d - 2 * d) / (3 * d))
            # Whole vectors in the inner width, where that leaves the count close enough.
            for inner in {round(ffn / 8) * 8, round(ffn / 4) * 4, ffn}:
                if not 1.5 * d <= inner <= 4.5 * d:
                    continue
                shape = ProxyShape(d_model=d, layers=layers, heads=d // _head_dim(d), ffn=inner)
                if abs(shape.parameters - parameters) <= TOLERANCE * parameters:
                    yield shape


def _widths(largest: int) -> Iterator[int]:
    yield from range(8, min(largest, 64), 8)
    yield from range(64, min(largest, 512) + 1, 16)
    yield from range(576, largest + 1, 64)


def _head_dim(d: int) -> int:
    """The widest head of 64, 32, 16, 8 or 4 that divides the width into two heads or more."""
    return next(h for h in (64, 32, 16, 8, 4) if d % h == 0 and 2 * h <= d)


def _cost(shape: ProxyShape, parameters: int) -> float:
    proportions = 32 * (max(parameters, 1) / 1e5) ** 0.1
    depth = abs(math.log(shape.d_model / shape.layers / proportions))
    inner = abs(math.log(shape.ffn / shape.d_model / _FFN_RATIO))
    ragged = 0.1 * (shape.ffn % 8 != 0) + 0.2 * (shape.head_dim < min(32, shape.d_model // 2))
    return depth + inner + ragged + 5 * abs(shape.parameters / parameters - 1)


def flops(shape: ProxyShape, tokens: int, *, vocab_size: int, context: int) -> float:
    """Training FLOPs: 6 per matrix parameter and token, unembedding and attention included.

    ``Fidelity.flops`` leaves out unembedding and attention (the usual 6ND); in a proxy of 0.1M
    parameters they are more than half of the work. Causal attention is counted at half of the
    full square (Kaplan et al., arXiv 2001.08361, table 1, with the mask).

    Args:
        shape: The proxy.
        tokens: Training tokens.
        vocab_size: Entries of the vocabulary.
        context: Tokens per sequence.
    """
    matrices = shape.parameters + shape.d_model * vocab_size
    attention = shape.layers * context * shape.d_model
    return 6.0 * tokens * (matrices + attention)
