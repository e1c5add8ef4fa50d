"""Markdown from the raw numbers: ``python -m benchmarks.report FILE.json`` prints it, ``--readme`` keeps it.

Every number in benchmarks/README.md between its two markers comes from here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.programs import CASES

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- results: written by benchmarks/report.py -->", "<!-- end of results -->"

PHASES = ("commit", "lookup", "contraction", "opening")
COLD_TARGET, WARM_TARGET = 60.0, 2.5


def duration(s: float) -> str:
    """Three significant digits in s, ms or µs."""
    unit, scale = ("s", 1.0) if s >= 1 else ("ms", 1e-3) if s >= 1e-3 else ("µs", 1e-6)
    return f"{digits(s / scale)} {unit}"


def digits(x: float) -> str:
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def size(n: float) -> str:
    """Bytes in decimal units."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if n >= scale:
            return f"{digits(n / scale)} {unit}"
    return f"{n:.0f} B"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """First column to the left, the others to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(m: dict[str, Any]) -> str:
    versions = ", ".join(f"{n} {m[n]}" for n in ("python", "numpy", "numba", "llvmlite") if m.get(n))
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']} GiB, {m['system']}; {versions}, BLAS {m['blas']}. "
        f"Commit {m['commit']}, {m['date']}, load at the start {m['load']}."
    )


def _target(value: float, target: float | None, text: str) -> str:
    if target is None:
        return text
    return f"{text} ✓" if value <= target else f"**{text}** ✗"


def programs(cases: Sequence[dict[str, Any]]) -> str:
    rows = []
    for c in cases:
        s, t = c["seconds"], CASES[c["case"]].target
        rows.append(
            [
                CASES[c["case"]].title,
                f"{c['parameters']:,}",
                *_hiding(c),
                _target(s["prove"], t.prove, duration(s["prove"])),
                _target(s["verify"], t.verify, duration(s["verify"])),
                _target(c["proof_bytes"], t.proof_bytes, size(c["proof_bytes"])),
                _target(c["peak_mb"], t.peak_mb, f"{c['peak_mb']:.0f} MiB"),
                duration(s["execute"]),
                f"{digits(c['ratio'])}×",
                f"{c['leaves']:,}",
                f"{c['committed_entries']:,}",
                f"{c['soundness_bits']:.1f}",
            ]
        )
    head = (
        "network",
        "weights",
        "prove, zero-knowledge",
        "verify, zk",
        "proof, zk",
        "prove",
        "verify",
        "proof",
        "peak memory",
        "native execution",
        "prove/execute",
    )
    return table((*head, "lookup leaves", "committed entries", "soundness bits"), rows)


def _hiding(c: dict[str, Any]) -> tuple[str, str, str]:
    """What proofs that hide take, where it was measured."""
    zk = c.get("zero_knowledge")
    return (duration(zk["prove"]), duration(zk["verify"]), size(zk["proof_bytes"])) if zk else ("", "", "")


def targets(cases: Sequence[dict[str, Any]]) -> str:
    rows = []
    for c in cases:
        t = CASES[c["case"]].target
        rows.append(
            [
                CASES[c["case"]].title,
                duration(t.prove),
                duration(t.verify) if t.verify else "",
                size(t.proof_bytes) if t.proof_bytes else "",
                f"{t.peak_mb:.0f} MiB" if t.peak_mb else "",
            ]
        )
    return table(("network", "prove", "verify", "proof", "peak memory"), rows)


def phases(cases: Sequence[dict[str, Any]]) -> str:
    rows = []
    for c in cases:
        s = c["seconds"]
        once = [duration(s[n]) for n in ("assemble", "setup", "key")]
        raw = ", ".join(f"{x:.3f}" for x in c["prove_raw"])
        rows.append([CASES[c["case"]].title, *once, *(duration(c["phases"][p]) for p in PHASES), raw])
    return table(("network", "assemble", "set-up", "load key (verifier)", *PHASES, "prove, every run (s)"), rows)


def certificates(cases: Sequence[dict[str, Any]]) -> str:
    """One row for each network and mode."""
    rows = []
    for c, mode, m in _modes(cases):
        s, found = m["certificate"]["seconds"], m["certificate"]
        once = duration(s["certify"]), size(found["certificate_bytes"]), duration(s["check"])
        proof = duration(s["prove"]), duration(s["verify"]), size(found["bytes"])
        without = duration(s["plain prove"]), duration(s["plain verify"]), size(found["plain_bytes"])
        rows.append([CASES[c["case"]].title, mode, *once, *proof, *without])
    head = ("network", "mode", "certify", "certificate", "check it", "prove", "verify", "proof")
    return table((*head, "prove without", "verify without", "proof without"), rows)


def committed(cases: Sequence[dict[str, Any]]) -> str:
    """One row for each network and mode."""
    rows = []
    for c, mode, m in _modes(cases):
        s, found = m["committed"]["seconds"], m["committed"]
        more = found["bytes"] - m["certificate"]["plain_bytes"]
        took = (duration(s[n]) for n in ("commit", "prove", "verify"))
        title = CASES[c["case"]].title
        rows.append([title, mode, f"{found['entries']:,}", *took, size(found["bytes"]), size(more)])
    return table(("network", "mode", "entries", "commit", "prove", "verify", "proof", "more than private"), rows)


def _modes(cases: Sequence[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], str, dict[str, Any]]]:
    for c in cases:
        for name, title in (("zero_knowledge", "zero-knowledge"), ("clear", "clear")):
            yield c, title, c[name]


def kernels(rows: Sequence[dict[str, Any]]) -> str:
    out = []
    for r in rows:
        floor = ""
        if r["floor"]:
            low, high = r["floor"]
            floor = f"{low:g}" if low == high else f"{low:g}–{high:g}"
            floor += f" ({r['floor_threads']} thread{'s' * (r['floor_threads'] > 1)})"
        out.append([r["kernel"], r["size"], f"{digits(r['value'])} {r['unit']}", str(r["threads"]), floor])
    return table(("kernel", "size", "measured", "threads", "floor"), out)


def cold(c: dict[str, Any]) -> str:
    rows = []
    for name, title, target in (
        ("cold", "empty kernel cache, no keys", COLD_TARGET),
        ("warm", "kernels and keys cached", WARM_TARGET),
    ):
        took = c[f"{name}_seconds"]
        rows.append(
            [title, _target(took, target, duration(took)), duration(c[f"{name}_prove_seconds"]), duration(target)]
        )
    head = ("`syurmy-vm run programs/digits_mlp.tasm --prove`", "whole process", "of which prove", "target")
    light = [[f"`{command}`", duration(took)] for command, took in c["processes"].items()]
    text = f"{table(('whole process, nothing compiled or proven', 'median'), light)}\n\n"
    text += f"Compiling all {c['kernels']} kernels that a proof uses: {duration(c['compile_seconds'])}."
    return f"{table(head, rows)}\n\n{text}"


def peers(theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> str:
    rows = []
    mine = {c["case"]: c for c in ours}
    for p in theirs:
        own = mine.get(p["case"])
        for name, c, key in (("syurmy-vm", own, None), (p["system"], p, "proving_key_bytes")):
            if c is None:
                continue
            s = c["seconds"]
            setup = s["setup"] + s.get("compile", 0.0) + s.get("assemble", 0.0)
            factor = digits(s["prove"] / own["seconds"]["prove"]) + "×" if own else ""
            columns = [duration(setup), duration(s["prove"]), duration(s["verify"]), size(c["proof_bytes"])]
            memory = f"{c['peak_mb']:.0f} MiB"
            rows.append([CASES[p["case"]].title, name, *columns, memory, size(c[key]) if key else "", factor])
    head = ("network", "system", "set-up", "prove", "verify", "proof", "peak memory", "proving key", "prove, relative")
    return table(head, rows)


def markdown(result: dict[str, Any]) -> str:
    """The results as sections of second level."""
    cases = result.get("programs", [])
    parts = [machine(result["machine"])]
    if result.get("quick"):
        parts.append("**A quick run: smaller sizes, one repetition. Good for seeing that it works, not for quoting.**")
    if cases:
        parts += ["## Networks", programs(cases), "Targets: ✓ reached, ✗ missed, no mark where none was set."]
        parts += [targets(cases), "## Where the time goes", phases(cases)]
    if result.get("commitments"):
        parts += ["## With a certificate of the key", certificates(result["commitments"])]
        parts += ["## With a committed input", committed(result["commitments"])]
    if result.get("peers"):
        parts += ["## Beside ezkl", peers(result["peers"], cases)]
        text = "Reference strings were made locally and are not counted: {}."
        strings = [f"{CASES[p['case']].title} {duration(p['seconds']['reference string'])}" for p in result["peers"]]
        parts.append(text.format(", ".join(strings)))
    if result.get("cold"):
        parts += ["## Cold start", cold(result["cold"])]
    if result.get("kernels"):
        parts += ["## Kernels", kernels(result["kernels"])]
    if result.get("failures"):
        parts += ["## Not measured", "\n".join(f"- {line}" for line in result["failures"])]
    return "\n\n".join(parts) + "\n"


def write_readme(text: str, readme: Path = README, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the markers. ``ValueError`` if a marker is missing."""
    before, found, rest = readme.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{readme} lacks the markers {begin} and {end}")
    readme.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Markdown from raw results")
    parser.add_argument("file", type=Path, help="results, JSON")
    parser.add_argument("--readme", action="store_true", help="replace the results in benchmarks/README.md")
    options = parser.parse_args()
    result = json.loads(options.file.read_text())
    text = markdown(result) + f"\nRaw numbers: [{options.file.name}](results/{options.file.name}).\n"
    if options.readme:
        write_readme(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
