"""One self-contained page: cost as a tree map, the timeline, every tensor's histogram, the dataflow graph with a way
from node to source and to the model, the soundness budget, and how far the program is from the float model.

Charts are Plotly's; its script is part of the page, which needs no network. Everything that comes from a program or a
model is data (JSON), never markup.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.inference import infer_types
from syurmy.prover.profile import PHASES, Piece, Profile
from syurmy.report import By, graph
from syurmy.report.costs import Cost, grouped

if TYPE_CHECKING:
    from types import ModuleType

    from syurmy.compiler import CompiledModel
    from syurmy.compiler.saturation import Watch
    from syurmy.isa.trace import Trace

BINS = 32
MAX_PIECES = 4000  # of the timeline; kernels one after the other are joined beyond


def needed() -> ModuleType:
    """The charting library; ``InputError`` X151 if it is not installed."""
    try:
        return import_module("plotly.offline")
    except ModuleNotFoundError as e:
        raise InputError("reports need the package plotly", code="X151", help="pip install 'syurmy-vm[report]'") from e


def page(
    path: Path,
    trace: Trace,
    found: Profile,
    model: CompiledModel | None,
    watch: Watch | None,
    original: Path | None,
    given: Mapping[str, npt.ArrayLike] | None,
) -> str:
    """The report as HTML. ``original``: a float model to compare with on the inputs ``given``; raises as
    ``compiler.compare`` does."""
    here = resources("syurmy.report")
    data = described(path, trace, found, model, watch)
    if model is not None and original is not None and given is not None:
        from syurmy.commands.compare import described as compared
        from syurmy.compiler import needed as part

        data["comparison"] = compared(part("compare").compare(model, original, given))
    parts = {
        "TITLE": _text(f"{trace.program.name}: cost and accuracy"),
        "STYLE": (here / "page.css").read_text(encoding="utf-8"),
        "PLOTLY": needed().get_plotlyjs(),
        "DATA": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": (here / "page.js").read_text(encoding="utf-8"),
    }
    out = (here / "page.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        out = out.replace(f"<!--{name}-->", text)
    return out


def described(
    path: Path, trace: Trace, found: Profile, model: CompiledModel | None, watch: Watch | None
) -> dict[str, Any]:
    """Everything that the page shows, as JSON data."""
    program, report = trace.program, found.report
    by = By.node if model is not None else By.instruction
    costs = grouped(found, by, model)
    group_of = {r.instruction: k for k, c in enumerate(costs) for r in c.rows if r.instruction is not None}
    source = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.suffix == ".tasm" else []
    return {
        "program": program.name,
        "version": syurmy.__version__,
        "summary": {
            "instructions": report.instructions,
            "steps": report.steps,
            "batch": trace.batch,
            "lookup leaves": report.leaves,
            "committed entries": report.committed_entries,
            "proof bytes": report.proof_bytes,
            "soundness bits": round(report.soundness_bits, 2),
            "peak memory, MB": round(report.peak_mb),
        },
        "phases": list(PHASES),
        "costs": [_cost(c, path) for c in costs],
        "pieces": [[p.name, p.thread, p.start, p.end] for p in joined(found.pieces)],
        "tensors": _tensors(trace, model, watch, group_of),
        "graph": graph.described(program, costs, group_of),
        "source": source,
        "soundness": [[name, bits if np.isfinite(bits) else None] for name, bits in report.soundness],
        "comparison": None,
    }


def joined(pieces: tuple[Piece, ...]) -> list[Piece]:
    """At most ``MAX_PIECES``: of each thread, neighbours become one until there are so few."""
    out = list(pieces)
    gap = 1e-5
    while len(out) > MAX_PIECES:
        last: dict[str, Piece] = {}
        kept: list[Piece] = []
        for p in sorted(out, key=lambda p: p.start):
            before = last.get(p.thread)
            if before is not None and p.start - before.end < gap:
                name = before.name if before.name == p.name else "kernels"
                kept.remove(before) if kept[-1] is not before else kept.pop()
                p = Piece(name, p.thread, before.start, max(p.end, before.end))
            last[p.thread] = p
            kept.append(p)
        out, gap = kept, 2 * gap
    return out


def _cost(c: Cost, path: Path) -> dict[str, Any]:
    lines = sorted({r.span.line for r in c.rows if r.span is not None and Path(r.span.file).name == path.name})
    counts = {name: c.sum(name) for name in ("executions", "leaves", "entries", "work", "bytes")}
    return {
        "name": c.name,
        "place": c.place,
        "instructions": [r.instruction for r in c.rows if r.instruction is not None],
        "lines": lines,
        **counts,
        "seconds": [round(c.phase(phase), 9) for phase in PHASES],
    }


def _tensors(
    trace: Trace, model: CompiledModel | None, watch: Watch | None, group_of: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Of every register that an instruction wrote, all executions together."""
    types = infer_types(trace.program).results
    scales = {r.register: r for h in (model.held if model is not None else ()) for r in h.results}
    cut: Counter[int] = watch.cut if watch is not None else Counter()
    out = []
    for i, ins in enumerate(trace.program.code):
        writes = trace.writes.get(i)
        t = types[i]
        if ins.dst is None or not writes or t is None or not writes[0].size:
            continue
        lo, hi = min(int(w.min()) for w in writes), max(int(w.max()) for w in writes)
        edges = np.linspace(lo, max(hi, lo + 1), BINS + 1)
        counts = np.sum([np.histogram(w, edges)[0] for w in writes], axis=0)
        held = scales.get(ins.dst)
        uniform = held is not None and np.ndim(held.scale) == 0
        out.append(
            {
                "register": ins.dst,
                "op": ins.op,
                "instruction": i,
                "group": group_of.get(i),
                "type": str(t),
                "interval": [t.lo, t.hi],
                "values": [lo, hi],
                "executions": len(writes),
                "tensor": None if held is None else held.name,
                "scale": float(held.scale) if held is not None and uniform else None,
                "saturated": cut[i],
                "counts": counts.tolist(),
            }
        )
    return out


def _text(s: str) -> str:
    return s.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
