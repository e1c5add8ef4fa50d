"""Control flow that ``passes.unroll`` had to leave."""

from __future__ import annotations

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering


@lowering("If", "Loop", "Scan")
def control(c: Context, n: Node) -> Result:
    if n.op == "Scan":
        raise Unsupported("Scan over a batch, as opset 8 has it", "opset 9 or newer")
    what = "the condition" if n.op == "If" else "the trip count or the condition"
    raise Unsupported(f"{what} is computed from the input", "a constant")
