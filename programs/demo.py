"""``make demo``: a picture, what a network sees in it, the proof, its verification by another process, a forgery.

python programs/demo.py [--digit K] [--folder DIR]      K: which of the 360 test images; DIR: where files are written
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import numpy.typing as npt

import syurmy
from syurmy import display, keys, outcome
from syurmy.cli import listen
from syurmy.files import write_whole

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "digits_mlp.tasm"
SHADES = " ░▒▓█"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--digit", type=int, default=0, metavar="K", help="which of the 360 test images")
    parser.add_argument("--folder", type=Path, default=HERE, metavar="DIR", help="where keys and proofs are written")
    options = parser.parse_args()
    test = np.load(HERE / "digits_test.npz")
    image, label = test["images"][options.digit % 360].astype(np.int64), int(test["labels"][options.digit % 360])

    print(f"A handwritten digit, 8 x 8 pixels, which a person called {label}. It stays on this side.\n")
    print(picture(image.reshape(8, 8)))

    program = syurmy.load(PROGRAM)
    # a new key every time: one key hides its weights in some proofs only
    kept = keys.obtain(program, PROGRAM, options.folder, agreed=lambda change: True, renew=True)
    trace = syurmy.run(program, {"x": image[None]})
    scores, digit = trace.outputs["scores"][0], int(trace.outputs["digit"][0])
    print(f"\nA network of {len(program.code)} instructions, whose weights the key commits to, sees a {digit}:\n")
    for k, score in enumerate(scores):
        bar = "█" * int(24 * max(0, score) / max(1, scores.max()))
        print(f"    {k}  {score / 256:7.2f}  {bar}{'  <' if k == digit else ''}")

    syurmy.prove(kept.key, trace)
    proof = syurmy.prove(kept.key, trace)  # what it takes once the kernels are loaded
    r = proof.report
    took, size = display.seconds_text(r.seconds["prove"]), display.bytes_text(len(proof.to_bytes()))
    print(
        f"\nProven in {took}: {r.leaves:,} lookup leaves, {r.committed_entries:,} committed entries, a proof of {size}."
    )
    write_whole(options.folder / "digits_mlp.proof", proof.to_bytes())

    print("\nThe other side has the key and the proof, not the picture:\n")
    verify(options.folder, "digits_mlp.proof", outcome.DONE)

    wrong = (digit + 1) % 10
    print(f"\nThe same proof with the answer changed to {wrong}:\n")
    write_whole(options.folder / "forged.proof", forged(proof, digit, wrong))
    verify(options.folder, "forged.proof", outcome.REJECTED)


def picture(pixels: npt.NDArray[np.integer]) -> str:
    """Pixels from 0 to 16 as text, two characters each."""
    return "\n".join("    " + "".join(2 * SHADES[min(4, -(-int(p) // 4))] for p in row) for row in pixels)


def forged(proof: syurmy.Proof, digit: int, wrong: int) -> bytes:
    """The proof with another digit in its statement, which ends with the outputs in order: scores, then the digit."""
    data = bytearray(proof.to_bytes())
    offset, length = next((o, n) for name, o, n in proof.fields if name == "statement")
    last = offset + length - 1
    if data[last] != digit:  # a little-endian number of one byte, the width of 0..9
        raise ValueError("the statement does not end with the digit")
    data[last] = wrong
    return bytes(data)


def verify(folder: Path, proof: str, expected: int) -> None:
    """Run ``syurmy-vm verify`` in a process of its own and show what it says."""
    command = [sys.executable, "-m", "syurmy", "verify", "digits_mlp.vk", proof]
    print(f"    $ syurmy-vm verify digits_mlp.vk {proof}")
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.getenv("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    print(textwrap.indent(done.stdout + done.stderr, "    "), end="")
    print(f"    exit code {done.returncode}: {outcome.EXITS.get(done.returncode, '')}")
    if done.returncode != expected:
        raise SystemExit(f"exit code {expected} was expected")


if __name__ == "__main__":
    outcome.settle_streams()
    listen()
    main()
