"""What a small file stands for, counted before any of it is made: nodes of functions within functions."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx.inliner

from syurmy.compiler.bodies.engine import nodes_of
from syurmy.compiler.errors import ModelError

MAX_NODES = 2**15  # of all functions, written out

Name = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions written out, itself if it has none. Raises ``ModelError``: M108 for functions
    that call each other in a circle, M114 for more than ``MAX_NODES`` nodes."""
    if not model.functions:
        return model
    bodies = {(f.domain, f.name, f.overload): f for f in model.functions}
    counts: dict[Name, int | None] = {}  # None: being counted

    def made(nodes: Iterator[onnx.NodeProto]) -> int:
        return sum(of((n.domain, n.op_type, n.overload)) for n in nodes)

    def of(name: Name) -> int:
        if name not in bodies:
            return 1
        if name not in counts:
            counts[name] = None
            counts[name] = made(nodes_of(bodies[name]))
        count = counts[name]
        if count is None:
            raise ModelError(f"function '{name[1]}' calls itself, directly or through others", code="M108")
        return count

    count = made(nodes_of(model.graph))
    if count > MAX_NODES:
        raise ModelError(
            f"the model's functions stand for {count:,} nodes, at most {MAX_NODES:,} are written out",
            code="M114",
            help="functions that call functions several times multiply; export fewer repetitions",
        )
    return onnx.inliner.inline_local_functions(model)
