"""ONNX's own node tests, compiled, executed and compared: what ``docs/operators.md`` says about every operator.

    python -m syurmy.compiler.coverage              run all cases, write docs/operators.md
    python -m syurmy.compiler.coverage --check      fail if docs/operators.md is not what the cases show
    python -m syurmy.compiler.coverage PATTERN ...  run cases whose name or operator contains one, list failures

A case is a model of (mostly) one operator with inputs and expected outputs, made by ``onnx.backend.test``. It is
compiled with its own inputs as the one calibration sample, runs in the virtual machine with every interval checked, and
must give the expected outputs within ``TOLERANCE``. Node tests pass everything as an input; what real models hold as a
constant and the compiler needs at compile time (``PARAMETERS``) is made one.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from syurmy import vm
from syurmy.compiler import compile_model, graph, load
from syurmy.compiler.bodies import replaced
from syurmy.compiler.coverage_opsets import OPSETS, by_body, downgraded, versions
from syurmy.compiler.errors import ModelError, UnsupportedModel
from syurmy.compiler.held import NAMES, held
from syurmy.compiler.lower import is_lowered, operators
from syurmy.compiler.model import CompiledModel
from syurmy.isa.arrays import Array
from syurmy.isa.errors import SyurmyError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
LIMIT = 60  # seconds that a case may take
TOLERANCE = {"float16": 2e-3, "float32": 1e-3, "float64": 1e-3, "bfloat16": 8e-3}
"""Largest error over the largest magnitude of the expected output; other dtypes must be equal."""

_SECOND = (
    "BitShift CenterCropPad CumProd CumSum Expand GridSample Pow ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape ReverseSequence Scatter "
    "ScatterElements ScatterND Split Squeeze Tile TopK Trilu Unsqueeze Upsample AffineGrid"
)
_BOTH = "Col2Im DFT DequantizeLinear Dropout GroupNormalization InstanceNormalization OneHot QuantizeLinear RoiAlign"
PARAMETERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_SECOND.split(), (1,)),
    **dict.fromkeys(_BOTH.split(), (1, 2)),
    "BatchNormalization": (1, 2, 3, 4), "BlackmanWindow": (0,), "CastLike": (1,), "Compress": (1,),
    "ConstantOfShape": (0,), "ConvInteger": (2, 3),
    "GRU": (1, 2, 3), "HammingWindow": (0,), "HannWindow": (0,), "If": (0,), "LSTM": (1, 2, 3, 7),
    "Loop": (0, 1), "MatMulInteger": (2, 3), "MaxUnpool": (2,), "MelWeightMatrix": (0, 1, 2, 3, 4), "Pad": (1, 2, 3),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "QLinearMatMul": (1, 2, 4, 5, 6, 7), "RNN": (1, 2, 3),
    "Range": (0, 1, 2), "Resize": (1, 2, 3), "RotaryEmbedding": (1, 2, 3), "STFT": (1, 2, 3), "Slice": (1, 2, 3, 4),
}  # fmt: skip


FOREIGN = {"ImageDecoder": "pictures in files; the reference needs a package of its own"}


@dataclass(frozen=True, eq=False)
class Case:
    """A model with inputs and expected outputs; ``PARAMETERS`` are initializers."""

    name: str
    op: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """``status``: passed, failed, unsupported; ``constant``: every node folded, the output is a constant."""

    name: str
    op: str
    status: str
    reason: str
    constant: bool
    seconds: float


def cases(patterns: Sequence[str] = ()) -> list[Case]:
    """The base cases (without those that only write out a function's body)."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    out = []
    for t in sorted(found, key=lambda t: t.name):
        if t.model is None or "_expanded" in t.name or not t.data_sets:
            continue
        case = _case(t.name, t.model, *t.data_sets[0])
        if not patterns or any(p in case.name or p == case.op for p in patterns):
            out.append(case)
    return out


def _case(name: str, model: onnx.ModelProto, inputs: Sequence[Any], outputs: Sequence[Any]) -> Case:
    node = model.graph.node[0]
    op = node.op_type if not node.domain else f"{node.domain}.{node.op_type}"
    fed = dict(zip((i.name for i in model.graph.input), map(_array, inputs), strict=False))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    fixed = [node.input[k] for k in PARAMETERS.get(node.op_type, ()) if k < len(node.input) and node.input[k] in fed]
    for i in list(copy.graph.input):
        if i.name in fixed:
            copy.graph.initializer.append(numpy_helper.from_array(np.asarray(fed.pop(i.name)), i.name))
            copy.graph.input.remove(i)
    named = dict(zip((o.name for o in model.graph.output), map(_array, outputs), strict=False))
    return Case(name, op, copy, fed, named)


def _array(x: Any) -> Any:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x


def run(case: Case) -> Outcome:
    """Compiles, executes and compares one case; raises nothing."""
    start, constant = time.perf_counter(), False
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(LIMIT)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            status, reason, constant = _run(case, Path(folder))
    except UnsupportedModel as e:
        status, reason = "unsupported", "; ".join(dict.fromkeys(_plain(p.op, p.reason) for p in e.problems))
    except ModelError as e:
        status, reason = "unsupported", e.message.split("\n")[0]
    except TimeoutError:
        status, reason = "failed", f"takes more than {LIMIT} s"
    except SyurmyError as e:
        status, reason = "failed", f"{e.code} {e.message}".split("\n")[0]
    except Exception as e:  # a defect of the compiler's: listed as such
        status, reason = "failed", f"{type(e).__name__}: {e}".split("\n")[0]
    finally:
        signal.alarm(0)
    return Outcome(case.name, case.op, status, reason, constant, time.perf_counter() - start)


def _late(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError


def _plain(op: str, reason: str) -> str:
    return reason if op in ("tensor", "input") else f"{op}: {reason}"


def _run(case: Case, folder: Path) -> tuple[str, str, bool]:
    """Status, reason, and whether no node is left after folding."""
    if case.op in FOREIGN:
        return "unsupported", FOREIGN[case.op], False
    strange = [
        v for v in (*case.inputs.values(), *case.outputs.values()) if not isinstance(v, (np.ndarray, np.generic))
    ]
    if strange:
        return "unsupported", "sequences and optional values", False
    values = [np.asarray(v) for v in (*case.inputs.values(), *case.outputs.values())]
    known = {*TOLERANCE, *NAMES}
    odd = sorted({v.dtype.name for v in values if v.dtype.kind not in "iub" and v.dtype.name not in known})
    if odd:
        return "unsupported", f"dtype {', '.join(odd)}", False
    if any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in map(held, values)):
        return "unsupported", "NaN or infinity in an input or output", False
    done = compiled(case, folder)
    trace = vm.run(done.program, done.quantise(case.inputs), check_intervals=True)
    found = done.dequantise(trace.outputs)
    for name, want in case.outputs.items():
        reason = difference(found[name], np.asarray(want))
        if reason:
            return "failed", reason, False
    return "passed", "", not done.rows


def compiled(case: Case, folder: Path) -> CompiledModel:
    """The case's program, calibrated on its inputs."""
    stacks = {k: held(np.asarray(v))[None] for k, v in case.inputs.items()}
    return compile_model(load.prepare(case.model), folder, calibrate=stacks)


def difference(y: Array, want: Array) -> str:
    """What is wrong with ``y``; '' if nothing."""
    if y.shape != want.shape:
        return f"shape {list(y.shape)}, expected {list(want.shape)}"
    if want.dtype.name not in TOLERANCE:
        wrong = int((y.astype(np.int64) != want.astype(np.int64)).sum())
        return f"{wrong} of {want.size} entries differ" if wrong else ""
    error = np.abs(y.astype(np.float64) - want.astype(np.float64)).max(initial=0.0)
    peak = float(np.abs(want.astype(np.float64)).max(initial=0.0))
    if error <= TOLERANCE[want.dtype.name] * (peak or 1.0):
        return ""
    return "less accurate than the tolerance"


def run_all(found: Sequence[Case], jobs: int = 2) -> list[Outcome]:
    """All outcomes in the order of the cases, computed by ``jobs`` processes."""
    global _CASES
    _CASES = found
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        return list(pool.map(_run_index, range(len(found)), chunksize=8))


def run_older(
    found: Sequence[Case], newest: Sequence[Outcome], jobs: int = 2
) -> dict[int, list[tuple[Outcome, Outcome]]]:
    """By opset, the outcome of each case that is one of it too, beside the newest form's. What is computed in the same
    way at several opsets is computed once."""
    forms: list[Case] = []
    known: dict[tuple[object, ...], int | None] = {}
    plan: dict[int, list[tuple[int, int | None]]] = {v: [] for v in OPSETS}
    for k, case in enumerate(found):
        values = (*case.inputs.values(), *case.outputs.values())
        if case.op in FOREIGN or not all(isinstance(v, (np.ndarray, np.generic)) for v in values):
            continue
        own, body = versions(case.model), by_body(case.model)
        for opset in OPSETS:
            there = versions(case.model, opset)
            if there is None:
                continue
            if there == own and not body:
                plan[opset].append((k, None))
                continue
            key = (case.name, there, opset if body else 0)
            if key not in known:
                model = downgraded(case.model, case.inputs, case.outputs, opset)
                known[key] = None if model is None else len(forms)
                if model is not None:
                    forms.append(replace(case, name=f"{case.name} at opset {opset}", model=model))
            form = known[key]
            if form is not None:
                plan[opset].append((k, form))
    done = run_all(forms, jobs)
    return {v: [(newest[k], newest[k] if f is None else done[f]) for k, f in pairs] for v, pairs in plan.items()}


_CASES: Sequence[Case] = ()


def _run_index(k: int) -> Outcome:
    return run(_CASES[k])


# ---- the page --------------------------------------------------------------------------------------------------------


def page(outcomes: Iterable[Outcome], older: Mapping[int, Sequence[tuple[Outcome, Outcome]]] | None = None) -> str:
    """docs/operators.md. ``older``: from ``run_older``."""
    by_op: dict[str, list[Outcome]] = defaultdict(list)
    for o in outcomes:
        by_op[o.op].append(o)
    total = Counter(o.status for group in by_op.values() for o in group)
    folded = sum(o.constant and o.status == "passed" for group in by_op.values() for o in group)
    lowered = {f"{d}.{op}" if d else op for d, op in operators() if d != graph.FUSED}
    lines = [
        "# ONNX operators",
        "",
        "Generated by `python -m syurmy.compiler.coverage`; checked by its option `--check`.",
        "",
        f"Of {sum(total.values())} base cases of ONNX {onnx.__version__}'s node tests, **{total['passed']} pass**, "
        f"{total['failed']} fail and {total['unsupported']} are refused with a reason. {folded} of those that pass",
        "depend on no data (shapes, or nothing but parameters): the program's output is a constant.",
        "",
        "Each case is compiled with 16-bit weights and activations, calibrated on its own input, executed with every",
        "interval checked, and compared with the expected output. Errors are relative to the output's peak:",
        "",
        "| dtype | tolerance |",
        "| --- | --- |",
        *(f"| {d} | {t:g} |" for d, t in TOLERANCE.items()),
        "| integers, booleans | exact |",
        "",
        *_older(older or {}),
        "Inputs that the compiler needs as constants are constants in the cases too:",
        ", ".join(f"{op} {', '.join(map(str, k))}" for op, k in sorted(PARAMETERS.items())) + " (inputs from 0).",
        "",
        "*How*: `lowered` has a lowering of its own, `by body` is replaced by other operators, by a body in",
        "`compiler/bodies` or by ONNX's own.",
        "",
        "| operator | how | passed | failed | unsupported | why not |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for op in sorted(by_op, key=str.lower):
        group = by_op[op]
        counts = Counter(o.status for o in group)
        reasons = Counter(o.reason.removeprefix(f"{op}: ") for o in group if o.reason)
        why = "; ".join(f"{reason} ({k})" for reason, k in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
        how = "lowered" if is_lowered(*_split(op)) else "by body" if counts["passed"] else "-"
        how = "constant" if how == "by body" and all(o.constant for o in group) else how
        cells = (op, how, counts["passed"], counts["failed"], counts["unsupported"], why.replace("|", "\\|"))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    untested = sorted(lowered - set(by_op))
    if untested:
        lines += ["", f"Lowered, without a base case: {', '.join(untested)}."]
    written = [op for op in replaced() if op not in by_op]
    lines += ["", f"By body, without a base case: {', '.join(written)}."]
    return "\n".join(lines) + "\n"


def _older(older: Mapping[int, Sequence[tuple[Outcome, Outcome]]]) -> list[str]:
    if not older:
        return []
    lines = [
        "Cases whose operator an older opset has too, in its form there (with attributes that are inputs now):",
        "",
        "| opset | cases | passed | failed | unsupported |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    worse: dict[str, list[int]] = defaultdict(list)
    for opset, pairs in older.items():
        counts = Counter(o.status for _, o in pairs)
        cells = (opset, len(pairs), counts["passed"], counts["failed"], counts["unsupported"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        for op in sorted({new.op for new, o in pairs if new.status == "passed" != o.status}):
            worse[op].append(opset)
    listed = "; ".join(f"{op} ({', '.join(map(str, at))})" for op, at in sorted(worse.items())) or "none"
    return [*lines, "", f"Operators with a case that passes in its newest form only (at opset): {listed}.", ""]


def _split(op: str) -> tuple[str, str]:
    domain, _, name = op.rpartition(".")
    return domain, name


def main() -> int:
    parser = argparse.ArgumentParser(prog="syurmy.compiler.coverage", description="ONNX's node tests, compiled.")
    parser.add_argument("pattern", nargs="*", help="parts of case names, or operators")
    parser.add_argument("--check", action="store_true", help="fail if docs/operators.md is not up to date")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    found = cases(args.pattern)
    outcomes = run_all(found, args.jobs)
    older = run_older(found, outcomes, args.jobs)
    count = Counter(o.status for o in outcomes)
    took = time.perf_counter() - start
    if args.pattern:
        for o in outcomes:
            if o.status != "passed":
                print(f"{o.status:12} {o.name:60} {o.reason[:200]}")
        for new, o in (p for pairs in older.values() for p in pairs):
            if o.status != "passed" and new.status == "passed":
                print(f"{o.status:12} {o.name:60} {o.reason[:200]}")
    text = page(outcomes, older)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['unsupported']} unsupported in {took:.0f} s")
    if args.pattern:
        return 0
    if args.check:
        before = PAGE.read_text() if PAGE.is_file() else ""
        written = re.search(r"base cases of ONNX (\S+)'s node tests, \*\*(\d+) pass", before)
        if written and written[1] != onnx.__version__:  # other cases: as many must pass
            print(f"{PAGE} was written with ONNX {written[1]}, {onnx.__version__} is installed: numbers are compared")
            return 0 if count["passed"] >= int(written[2]) else 1
        same = before == text
        print(f"{PAGE} {'is up to date' if same else 'is not what the cases show'}")
        return 0 if same else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
