"""From ONNX to the instruction set: load, observe, lower, emit.

``load`` checks the file, fixes shapes, simplifies and inlines functions; ``graph.graph_of`` has run the float model on
samples (``calibration``) and folds what no input reaches; ``passes`` replace groups of nodes by one; ``lower`` walks
the nodes and calls one lowering each, which emits typed instructions (``emit``) through fixed-point helpers
(``scales``, ``narrowing``, ``tables``). ``pipeline`` does all this and writes the files; ``model`` reads them and
translates inputs and outputs, without the packages that compiling needs.

**Adding a body.** What can be said with other operators needs no lowering: a function in ``compiler/bodies`` writes
them (``w("Mul", x, y)``) in the spelling of the model's opset, before anything is observed.

**Adding a lowering.** Put a function into the family's file under ``compiler/ops`` (a new file is found by itself)::

    @lowering("Elu", since=6)
    def elu(c: Context, n: Node) -> Tensor:
        a = n.attr("alpha", 1.0)
        return c.table(c.tensor(n.inputs[0]), lambda v: np.where(v < 0, a * np.expm1(v), v), "elu")

``since`` is the opset version from which on this lowering is right; register another for an older or newer form. What
it gets and may use:

- ``n``: inputs and outputs (ONNX names, '' where absent), ``n.attr(name, default)``, ``n.version``.
- ``c.operand(name)``: a ``Tensor`` (``real = scale * integer``), or a float64 array if it is constant.
  ``c.tensor(name)``: a Tensor in any case. ``c.const(name)``: the array or None. ``c.ints(n, i, what)``: constant
  integers, or a refusal.
- ``c.shape(name)``, ``c.peak(name)``, ``c.value(name)``, ``c.is_float(name)``: what the float model showed.
- ``c.emit(op, *tensors, scale=..., **attributes)``: one instruction; ``scale`` is the result's (default: the first
  source's). ``x.type.lo/hi``: its proven interval, ``x.values``: its integers on the samples, ``x.peak``.
- ``c.narrow(x)``: x in the activations' width; free if it fits already, and emitted once for all readers. Give narrow
  operands to tables and comparisons. Leave sums and products wide: the reader narrows.
- ``c.factor(x, limit)``: x as a factor of a product: narrow, or where the program is fine (``c.precision.fine``, see
  ``compiler.scales``) with more bits, at most ``limit``. ``c.multiply(a, b)`` does it itself. ``c.relu(x)`` likewise;
  ``c.between(x, lo, hi)`` narrows and cuts at once, where nothing else reads x.
- ``c.table(x, f, label)``: any real function of one argument; ``c.lookup(x, entries, label)``: a table of integers.
- ``c.align([...], peak)``: tensors and constants at one scale, for sums, concatenations, comparisons, maxima.
- ``c.reshape``, ``c.broadcast``, ``c.constant(array, scale)``, ``c.quantised(array)``,
  ``c.rescale_to(x, scale)``, ``x.scaled(scale)`` (free: another meaning for the same integers).
- Integer and boolean ONNX tensors are exact: scale 1, values as in ONNX; intervals must show that nothing overflows.
- ``raise Unsupported(reason, need)`` for what cannot be done; all of them are reported at once.

Return the output's Tensor, or one per output. Its shape is checked against the model's. A lowering's test goes through
``tests/compiler/harness.py``, which compares with the ONNX reference evaluator on random shapes and attributes.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syurmy.compiler.errors import ModelError, Problem, UnsupportedModel
from syurmy.compiler.model import CompiledModel
from syurmy.compiler.options import Options, with_options
from syurmy.isa.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

    import onnx

__all__ = ["CompiledModel", "ModelError", "Options", "Problem", "UnsupportedModel", "compile_model", "compile_onnx"]


@with_options
def compile_onnx(
    path: str | Path, out_dir: str | Path | None = None, options: Options | None = None, **changes: Any
) -> CompiledModel:
    """Compile the ONNX model in ``path`` into the folder ``out_dir`` (made if need be; written whole or not at all),
    the model's name beside it unless given.

    ``options``, or ``changes`` of it by name (``calibrate=samples, tolerance=1e-4``): see ``Options``. Raises
    ``InputError`` for options, ``ModelError``, and ``UnsupportedModel`` with everything that cannot be compiled.
    """
    chosen = Options.of(options, changes)
    done: CompiledModel = needed().compile_onnx(Path(path), None if out_dir is None else Path(out_dir), chosen)
    return done


@with_options
def compile_model(
    model: onnx.ModelProto, out_dir: str | Path, options: Options | None = None, **changes: Any
) -> CompiledModel:
    """``compile_onnx`` for a model that ``load.load`` or ``load.prepare`` made, calibrated on arrays."""
    done: CompiledModel = needed().compile_model(model, Path(out_dir), Options.of(options, changes))
    return done


def needed(part: str = "pipeline") -> ModuleType:
    """The pipeline (or another ``part``), with the packages that reading models needs; ``InputError`` X150 if one is
    not installed."""
    try:
        return import_module(f"syurmy.compiler.{part}")
    except ModuleNotFoundError as e:
        message = f"compiling models needs the package {e.name}"
        raise InputError(message, code="X150", help="pip install 'syurmy-vm[onnx]'") from e
