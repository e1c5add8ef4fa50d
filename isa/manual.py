"""The reference manual, from the registry: ``python -m syurmy.isa.manual [--check]`` writes or checks docs/isa.md.

Exit codes: 0 written or up to date, 1 stale (``--check``), 2 bad usage.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa.instruction import REGISTRY, AttrSpec, Op
from syurmy.isa.wellformed import KINDS

PATH = Path(__file__).resolve().parent.parent / "docs" / "isa.md"

PREFACE = """\
# Instruction set reference

Generated from the definitions in `isa/ops` by `python -m syurmy.isa.manual`; edit those, not this page.

## Values

Tensors of signed integers. `i8`, `i16` and `i32` are range-checked in the proof; `i64` is an exact accumulator with
-2^61 <= v < 2^61. Every tensor carries a static interval, from dtypes, tables and the bounds of params; a program in
which a value could leave its dtype is refused when it is assembled, so there is no overflow at run time. Registers are
named, get their type when they are written, and may be overwritten. Inputs, params, tables and loop counters are
read-only. A trap stops execution and nothing is proven.

## Text form

One statement per line; open braces continue on the next line. `;` starts a comment. Names are case-sensitive.

| statement | meaning |
| --- | --- |
| `.program digits` | name of the program |
| `.input x : i8[1, 64] private in -16..16` | a tensor given at run time; `in` narrows its interval |
| `.param w : i16[64, 32] committed = "digits.npz:w"` | a tensor fixed at set-up, with its data |
| `.param b : i32[2, 2] public = {{1, 2}, {3, N}}` | the same with inline data; a scalar is `{7}` |
| `.param w : i16[64, 32] committed bounds -12..37 l1 (0)=123` | the same with declared bounds |
| `.lut gelu : i16 -> i16 = "gelu.npy"` | a table on the whole source dtype |
| `.lut f : i8 -> i16 in 0..2 = {0, 1, 4}` | a table on a domain, at most 2^16 rows |
| `.ram kv : i16[64, 8]` | a buffer of 64 rows that `load` and `store` address at run time, zeros at first |
| `.ram a : i16[64] = x` | the same, at first with the contents of an input or a param |
| `.output y public` | a register whose value at `halt` leaves the program, `public`, `private` or `committed` |
| `.const N = 4 * 16` | an integer constant, defined before use |
| `.include "nn.tasm"` | another file, once: beside this file, in the include path, or in the library |
| `.macro f(dst, src, axis=-1)` ... `.endmacro` | a macro, called like an instruction |
| `.for row in x` ... `end` | a block that runs once per row of an input or param, in which `row` is that row |
| `.print h` | for people: `run` and `test` show `h` whenever they come here |
| `.expect h = {1, 2, N}` | a test: `syurmy-vm test` compares here; one number stands for all entries |

Inputs are `private`, `public` or `committed`: public ones are part of the statement, of committed ones it names a
commitment that was made before, and that other proofs can name too. Params are `committed`, and only a commitment
enters the key, or `public`, and part of the program. Their bounds (minimum, maximum, and the maximum of the sum of
absolute values over given axes) are computed from the data; without data they must be declared, and set-up checks them.

Data files are `.npy`, `.npz` (`"file.npz:key"` or `"file.npz":"key"`) and `.safetensors`, relative to the file that
names them, and hold integers of the declared shape and range. The library is installed with the package: `nn.tasm`
(layers of neural networks as macros, each with the bound on its error) and `tables.npz` (their tables).

An instruction is `op dst, sources, attributes`. Attributes in the usage line without `=` may be given by position, all
by name. Wherever an integer stands, shapes included, an expression may: `+ - * // % **`, parentheses and constants.
Tuples are `(0, 1)`; a single integer is a tuple of one. Attributes marked *affine* also take the counters of enclosing
`repeat` blocks with constant factors, as in `start=2*t+1`.

A source may also be a number, `add y, x, 1` or `div m, s, WINDOW` (a public scalar param that all equal numbers share),
or a part of a tensor with the subscripts of NumPy, `x[t, 0:8]`, `x[:, 2]`: constants and loop counters make slices,
and a register as the first subscript, `x[i]`, a `gather`. `.print` and `.expect` are no part of the program.

A macro's parameters stand for registers, integers, tuples, dtypes, strings or tables. Names in its body that start with
`%` are local, registers and labels alike: call number n of macro `m` turns `%t` into `m.n.t`. Other names are those of
the program. Macros may call macros and hold declarations.

## Control

`repeat n` ... `end` runs a block a fixed number of times. A label, `name:`, stands on a line of its own or before an
instruction; `jmp name` goes there, `bz bit, name` and `bnz bit, name` do if a 0/1 value is 0, or 1. Jumps stay in their
innermost block; a label right before `end` leads to its next round. `call name` runs a routine outside all blocks up to
its `ret`; routines share the registers, have loop counters of their own, and do not call themselves. Paths end with
`halt`, outside all blocks. Labels have names of their own: a register may have the same one.

The executed path is public: a proof shows the bits of all branches, not the data behind them. In a loop that data ends,
intervals must come to rest: `cast` or `clamp` what is accumulated. A run takes at most `--max-steps` instructions.

```
next:
    load  v, a[i]          ; a is a buffer, i a register
    add   s, s, v
    cast  s, s, i32        ; s is an i32 in every round
    addi  i, i, 1
    cast  i, i, i32
    lt    more, i, n
    bnz   more, next
    halt
```

## Memory

A buffer is an array of rows, all of one shape and dtype. `load row, kv[i]` and `store kv[i], row` take one row number,
or a vector of them; accesses of one vector happen in its order, so of equal row numbers in a `store` the last wins. Row
numbers outside the buffer trap. `gather row, t[i]` reads rows of any tensor in the same way. An access costs two leaves
in the proof and a time lookup, whatever the width of its row.

A batch (`--batch`) runs one program on many inputs, each with fresh registers and buffers, and proves all runs at once.

## Cost

The column *proof* tells what pins an instruction's result.

| proof | meaning |
| --- | --- |
| `linear` | a linear map of other tensors: nothing is committed, no cost |
| `contraction` | products, in the one contraction sumcheck |
| `lookup` | lookups in tables of at most 2^16 rows; the looked-up columns are committed |
| `memory` | the memory argument: rows of buffers and gathered rows as multisets, in the lookup tree |
| `none` | no constraint |
"""


def manual() -> str:
    """The whole page."""
    families: dict[str, list[Op]] = {}
    for op in REGISTRY.values():
        families.setdefault(op.family, []).append(op)
    parts = [PREFACE, "## Instructions\n"]
    for family in sorted(families):
        links = ", ".join(f"[`{op.name}`](#{op.name})" for op in families[family])
        parts.append(f"- {family}: {links}")
    for family in sorted(families):
        ops = families[family]
        parts.append(f"\n## {family[0].upper()}{family[1:]}\n")
        parts.append("| instruction | meaning | proof |\n| --- | --- | --- |")
        parts += [f"| [`{op.name}`](#{op.name}) | {_cell(summary(op))} | {op.proof} |" for op in ops]
        parts += [entry(op) for op in ops]
    return "\n".join(parts).rstrip() + "\n"


def usage(op: Op) -> str:
    """One line of syntax; brackets mark what may be left out."""
    sources = [s for s in op.sources if not op.indexed or s not in ("idx", op.indexed)]
    rows = [f"{op.indexed}[idx]"] if op.indexed else []
    parts = (["dst"] if op.has_dst else []) + rows + sources + (["..."] if op.variadic else [])
    for a in op.attributes:
        if a.name == op.indexed:
            continue
        text = a.name if a.positional else f"{a.name}={'...' if a.default is None else shown(a.default)}"
        parts.append(text if required(a) else f"[{text}]")
    return f"{op.name} {', '.join(parts)}".strip()


def required(a: AttrSpec) -> bool:
    """Whether an attribute has to be written."""
    return a.default is None and not a.optional


def shown(value: object) -> str:
    """A default as it is written in a program."""
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})"
    return str(value).lower() if isinstance(value, bool) else str(value)


def summary(op: Op) -> str:
    """The first paragraph of the description, on one line."""
    return " ".join(inspect.cleandoc(op.__doc__ or "").split("\n\n")[0].split())


def directives() -> dict[str, list[tuple[str, str]]]:
    """What the page says on every directive: examples of its use, each with its meaning."""
    out: dict[str, list[tuple[str, str]]] = {}
    for line in PREFACE.split("\n"):
        if line.startswith("| `."):
            example, _, meaning = line[2:-2].partition(" | ")
            out.setdefault(example[1:].split()[0], []).append((example, meaning))
    return out


def entry(op: Op) -> str:
    """The section on one instruction."""
    lines = [f"\n### {op.name}\n", f"```\n{usage(op)}\n```\n", inspect.cleandoc(op.__doc__ or "").strip(), ""]
    if op.reads_dst:
        lines.append("The old value of `dst` is read too.\n")
    operands = [f"`{s}`" for s in op.sources]
    if operands:
        more = ", one or more times" if op.variadic else ""
        lines.append(f"Operands: {', '.join(operands)}{more}. Proof: {op.proof}.\n")
    else:
        lines.append(f"Proof: {op.proof}.\n")
    if op.attributes:
        lines.append("| attribute | kind | default | meaning |\n| --- | --- | --- | --- |")
        for a in op.attributes:
            default = "required" if required(a) else "none" if a.default is None else f"`{shown(a.default)}`"
            kind = "affine: " + KINDS[a.kind] if a.kind == "affine" else KINDS[a.kind]
            lines.append(f"| `{a.name}` | {kind} | {default} | {_cell(a.doc)} |")
        lines.append("")
    lines.append(f"Example: `{op.example}`")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Writes ``docs/isa.md``, or with ``--check`` compares it; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m syurmy.isa.manual [--check]", file=sys.stderr)
        return 2
    text = manual()
    if not arguments:
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(text, encoding="utf-8")
        return 0
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PATH.name} is stale: run python -m syurmy.isa.manual", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
