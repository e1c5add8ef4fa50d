"""What a small file stands for, counted before any of it is made: nodes of functions within functions, entries of
tensors (``sizes``), rounds of loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from syurmy.compiler.bodies.engine import graphs, nodes_of
from syurmy.compiler.errors import ModelError
from syurmy.compiler.sizes import ROUNDS, Following, always, constants
from syurmy.isa.arrays import Array

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


def bounded(model: onnx.ModelProto) -> None:
    """Refuses tensors and loops that no program can hold, before anything computes them; ``model`` is changed: a Loop
    that its condition ends runs ``ROUNDS + 1`` rounds at most, which is refused where it is written out.

    Shapes that hang on values (of Range, Expand, Resize, ...) are known where those are computed from constants and
    shapes alone. Raises ``ModelError`` M114.
    """
    _check_rounds(model.graph, Following(model).known, 1)


def _check_rounds(graph: onnx.GraphProto, known: Mapping[str, Array], around: int) -> None:
    """``around``: how often the graph runs at least."""
    held = constants(graph, known)
    limits = []
    for n in graph.node:
        rounds = around
        if n.op_type == "Loop" and n.domain in ("", "ai.onnx"):
            body = next(a.g for a in n.attribute if a.name == "body")
            trips = held.get(n.input[0]) if n.input[0] else np.array(2**62)
            begun = held.get(n.input[1], np.array(True)).all()
            count = int(trips.reshape(-1)[0]) if trips is not None and trips.size and begun else 0
            if always(body, body.output[0].name, body.input[1].name):
                rounds = max(around * count, 1)
            elif count > ROUNDS:
                n.input[0] = f"{n.output[0] or n.name}/rounds"
                limits.append(numpy_helper.from_array(np.array(ROUNDS + 1), n.input[0]))
            if rounds > ROUNDS:
                raise ModelError(
                    f"Loop '{n.name or n.output[0]}' runs {rounds:,} rounds, at most {ROUNDS:,} are compiled",
                    code="M114",
                    help="a smaller constant trip count",
                )
        for body in graphs(n):
            _check_rounds(body, held, rounds)
    graph.initializer.extend(limits)
