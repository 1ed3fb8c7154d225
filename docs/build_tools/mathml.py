"""Equations as MathML, which browsers draw by themselves: the site needs no script for them."""

from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml


def visit_math(self: Any, node: Any) -> None:
    """An equation within a sentence."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise SkipNode


def visit_math_block(self: Any, node: Any) -> None:
    """An equation on a line of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
