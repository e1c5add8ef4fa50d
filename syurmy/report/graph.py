"""The dataflow graph of a report: groups of instructions as boxes in layers, edges where one reads what another wrote.

A graph of more than ``MOST`` groups is collapsed, by the finest of these that leaves no more than ``FEW``: source lines
(those of a macro at each of its uses), uses of macros from the innermost, outermost loops; of a model the parts that
the names of its nodes are paths of (``/encoder/layer.1/...``), from the longest; and where nothing of that is enough,
neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syurmy.isa.errors import Span
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.program import Program
from syurmy.report.costs import Cost

MOST = 3000  # groups that are drawn as they are
FEW = 300  # boxes where there are more: a person can look at them


@dataclass(frozen=True)
class Box:
    """``groups``: indices of the costs that it stands for."""

    name: str
    groups: tuple[int, ...]


def described(program: Program, costs: list[Cost], group_of: Mapping[int, int]) -> dict[str, Any]:
    """Boxes as ``[x, y, name, groups]``, edges between their indices, and in ``collapsed`` what was done ('': nothing).
    ``group_of``: instruction to index of its cost."""
    boxes, collapsed = boxed(program, costs, group_of)
    box_of = {k: j for j, b in enumerate(boxes) for k in b.groups}
    last: dict[str, int] = {}
    edges: dict[tuple[int, int], None] = {}
    for i, ins in enumerate(program.code):
        if i not in group_of:
            continue
        here = box_of[group_of[i]]
        for name in ins.src:
            if last.get(name, here) != here:
                edges[last[name], here] = None
        if ins.dst is not None:
            last[ins.dst] = here
    depth = [0] * len(boxes)
    for a, b in sorted(edges, key=lambda e: e[1]):
        if a < b:  # those of a loop lead back
            depth[b] = max(depth[b], depth[a] + 1)
    width, seen, nodes = Counter(depth), Counter[int](), []
    for box, d in zip(boxes, depth, strict=True):
        nodes.append([seen[d] - (width[d] - 1) / 2, d, box.name, list(box.groups)])
        seen[d] += 1
    return {"nodes": nodes, "edges": [list(e) for e in edges], "collapsed": collapsed}


def boxed(program: Program, costs: list[Cost], group_of: Mapping[int, int]) -> tuple[list[Box], str]:
    """Boxes in the program's order, and how they were made ('' if each is one group)."""
    first = {k: i for i, k in reversed(list(group_of.items()))}  # of each group the first instruction
    groups = sorted(first, key=lambda k: first[k])
    boxes = [Box(costs[k].name, (k,)) for k in groups]
    how = ""
    most = MOST if len(boxes) <= MOST else FEW
    for what, name in _levels(program, costs, first):
        if len(boxes) <= most:
            return boxes, how
        merged: dict[str, list[int]] = {}
        for k in groups:
            merged.setdefault(name(k), []).append(k)
        boxes = [Box(n if len(ks) > 1 else costs[ks[0]].name, tuple(ks)) for n, ks in merged.items()]
        how = f"{len(groups):,} are shown as {len(boxes):,} boxes, one for each {what}"
    if len(boxes) > most:
        size = -(-len(boxes) // most)
        parts = [boxes[at : at + size] for at in range(0, len(boxes), size)]
        boxes = [
            Box(f"{_end(p[0], costs)} to {_end(p[-1], costs)}", tuple(k for b in p for k in b.groups)) for p in parts
        ]
        how = f"{len(groups):,} are shown as {len(boxes):,} boxes of neighbours"
    return boxes, how


def _end(b: Box, costs: list[Cost]) -> str:
    place = costs[b.groups[0]].place
    return f"{b.name} at {place}" if len(b.groups) == 1 and place else b.name


def _levels(
    program: Program, costs: list[Cost], first: Mapping[int, int]
) -> Iterator[tuple[str, Callable[[int], str]]]:
    """Ways to name the box of a group, the finest first."""
    paths = {k: costs[k].name.partition(" ")[2].strip("/").split("/") for k in first}
    if (longest := max(map(len, paths.values()), default=0)) > 1:
        for depth in range(longest - 1, 0, -1):
            yield "part of the model", lambda k, depth=depth: "/".join(paths[k][:depth]) or costs[k].name  # type: ignore[misc]
        return
    loops = _loops(program)

    def line(k: int, depth: int) -> str:
        ins = program.code[first[k]]
        places = [_place(at) for _, at in ins.calls] + [_place(ins.span)]
        return " in ".join(reversed(places[: depth + 1])) or costs[k].name

    def loop(k: int) -> str:
        at = loops.get(first[k])
        return line(k, 0) if at is None else f"loop at {_place(program.code[at].span) or at}"

    for depth in range(max((len(program.code[i].calls) for i in first.values()), default=0), -1, -1):
        yield "line", lambda k, depth=depth: line(k, depth)  # type: ignore[misc]
    yield "loop or line", loop


def _place(span: Span | None) -> str:
    return "" if span is None else f"{Path(span.file).name}:{span.line}"


def _loops(program: Program) -> dict[int, int]:
    """The outermost ``repeat`` around each instruction that has one."""
    found: dict[int, int] = {}
    open_: list[int] = []
    for i, ins in enumerate(program.code):
        flow = REGISTRY[ins.op].flow
        if flow is Flow.OPEN:
            open_.append(i)
        if open_:
            found[i] = open_[0]
        if flow is Flow.CLOSE:
            open_.pop()
    return found
