"""What README.md shows and did not come from a keyboard: its picture, what its commands print, its three numbers.

    python -m benchmarks.readme [--runs N]

writes docs/picture.svg, runs the blocks of README's first section in a folder of its own and puts their output below
them, and measures programs/lenet.tasm in a process with loaded kernels. Where N is 0 the numbers stay.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import syurmy
from benchmarks.measure import ROOT, machine
from syurmy import inputs

README, PICTURE = ROOT / "README.md", ROOT / "docs" / "picture.svg"
BEGIN, END = "<!-- numbers: written by python -m benchmarks.readme -->", "<!-- end of numbers -->"
SHOWN = re.compile(r"(```sh\n(syurmy-vm [^`]*)```\n\n```text\n)(.*?)(```)", re.DOTALL)
BLUE, GREY, GREEN = "#2563eb", "#6b7280", "#15803d"


# ---- picture -------------------------------------------------------------------------------------------------------


def picture() -> str:
    """Model and private input, the proof, and what the other side learns, as SVG. The digit and what is said of it are
    those of the first test image."""
    image = np.load(ROOT / "programs" / "digits_test.npz")["images"][0].astype(np.int64)
    program = syurmy.load(ROOT / "programs" / "digits_mlp.tasm")
    digit = int(syurmy.run(program, {"x": image[None]}).outputs["digit"][0])
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 216" font-family="system-ui, sans-serif" '
        'font-size="15" role="img">',
        "<title>A model and a private input go in; a proof comes out; anyone verifies the answer.</title>",
        '<rect width="880" height="216" rx="12" fill="#f8fafc"/>',
        _box(20, 20, 250, "you", GREY),
        *(
            f'<rect x="{44 + 11 * x}" y="{62 + 11 * y}" width="11" height="11" fill="#0f172a" '
            f'fill-opacity="{image[8 * y + x] / 16:.2f}"/>'
            for y in range(8)
            for x in range(8)
        ),
        f'<rect x="44" y="62" width="88" height="88" fill="none" stroke="{GREY}"/>',
        _text(88, 172, "private input", GREY),
        *_network(196, 106),
        _text(204, 172, "model", GREY),
        _arrow(270, 330, "run --prove"),
        _box(350, 62, 130, "proof", BLUE, 90),
        _text(415, 122, "some 100 KB, the", GREY),
        _text(415, 140, "input stays hidden", GREY),
        _arrow(480, 540, "verify"),
        _box(560, 20, 300, "anyone", GREEN),
        _text(710, 88, f"digit = {digit}", "#0f172a", 26),
        _text(710, 118, "computed by the committed model", GREY),
        _text(710, 140, "on an input that stayed with you", GREY),
        _text(710, 172, "checked in milliseconds, exit code 0", GREEN),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(x: int, y: int, width: int, title: str, colour: str, height: int = 176) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="white" stroke="{colour}"/>' + _text(
        x + width // 2, y + 24, title, colour, weight=600
    )


def _text(x: int, y: int, text: str, colour: str, size: int = 13, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="middle" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}">{text}</text>'
    )


def _arrow(start: int, end: int, text: str) -> str:
    line = f'<path d="M{start + 8} 108H{end + 10}m-8 -6l8 6l-8 6" fill="none" stroke="{GREY}" stroke-width="2"/>'
    return line + _text((start + end) // 2 + 10, 96, text, GREY, 12)


def _network(x: int, y: int) -> list[str]:
    """Three layers of dots, joined."""
    layers = [[(x - 32 + 40 * k, y + 22 * (i - (n - 1) / 2)) for i in range(n)] for k, n in enumerate((4, 3, 2))]
    lines = [
        f'<path d="M{a} {b}L{c} {d}" stroke="{GREY}" stroke-opacity="0.5"/>'
        for left, right in itertools.pairwise(layers)
        for a, b in left
        for c, d in right
    ]
    return lines + [f'<circle cx="{a}" cy="{b}" r="6" fill="{BLUE}"/>' for layer in layers for a, b in layer]


# ---- outputs and numbers -------------------------------------------------------------------------------------------


def with_outputs(text: str) -> str:
    """README with what its commands print now, in order, in one folder."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "programs").symlink_to(ROOT / "programs")

        def ran(m: re.Match[str]) -> str:
            command = m[2].replace("syurmy-vm", f"{sys.executable} -m syurmy")
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                command, shell=True, cwd=name, env=environment, capture_output=True, text=True, check=True
            )
            shown = "\n".join(line.rstrip() for line in done.stdout.splitlines())
            return f"{m[1]}{shown}\n{m[4]}"

        return SHOWN.sub(ran, text)


def measured(runs: int) -> dict[str, Any]:
    """Seconds and bytes of programs/lenet.tasm: the best of ``runs``, as other work only slows it down."""
    from syurmy.prover.verifier.verify import Verifier

    path = ROOT / "programs" / "lenet.tasm"
    program = syurmy.load(path)
    trace = syurmy.run(program, inputs.read(inputs.beside(path), inputs.of_program(program)))
    took: dict[str, list[float]] = {"prove": [], "verify": []}
    for _ in range(runs):
        key, verifying_key = syurmy.setup(program)  # a key hides its weights in some proofs only
        verifier = Verifier(verifying_key)
        start = time.perf_counter()
        data = syurmy.prove(key, trace).to_bytes()
        took["prove"].append(time.perf_counter() - start)
        start = time.perf_counter()
        verifier.verify(data)
        took["verify"].append(time.perf_counter() - start)
    return {"bytes": len(data), "runs": runs, **{name: min(seconds) for name, seconds in took.items()}}


def with_numbers(text: str, m: dict[str, Any], where: dict[str, Any]) -> str:
    """README with these numbers and their machine."""
    table = f"""
| LeNet-5 on a 28 x 28 digit, 16 bits | |
| --- | --- |
| prove | **{1000 * m["prove"]:.0f} ms** |
| verify | **{1000 * m["verify"]:.0f} ms** |
| proof | **{m["bytes"] / 1024:.0f} KB** |

{where["cpu"]}, {where["cores"]} cores, no GPU, kernels loaded; the best of {m["runs"]} runs, with other work on the
machine (load {where["load"]}). A command adds the start of its process.

"""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + table + END + rest.partition(END)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--runs", type=int, default=30, metavar="N", help="of which the best counts; 0 measures nothing"
    )
    options = parser.parse_args()
    PICTURE.write_text(picture())
    text = with_outputs(README.read_text())
    if options.runs:
        where = machine()
        numbers = measured(options.runs)
        print(json.dumps(numbers | {"machine": where}))
        text = with_numbers(text, numbers, where)
    README.write_text(text)


if __name__ == "__main__":
    main()
