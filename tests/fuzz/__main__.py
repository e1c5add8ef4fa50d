"""Mutates seeds for a number of seconds and hands them to a target. A crash, an accepted forgery or an answer that
takes too long is written to ``tests/fuzz/corpus/TARGET`` and ends the run with exit code 1."""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import signal
import sys
import time
import traceback
from types import FrameType

from tests.fuzz.targets import CORPUS, TARGETS, seeds

ANSWER_SECONDS = 20  # ten, on a machine that others use too
MEMORY = 6 << 30  # of the address space: compiled kernels and thread stacks are in it
WORDS = [0, 1, 2, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**32, 2**61, 2**63, 2**64 - 1]


def mutated(data: bytes, others: list[bytes], rnd: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rnd.choice((1, 1, 2, 4, 8))):
        at = rnd.randrange(len(out) + 1)
        match rnd.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << rnd.randrange(8)
            case 1 if out:
                out[at % len(out)] = rnd.randrange(256)
            case 2:
                del out[at : at + rnd.choice((1, 2, 8, 64))]
            case 3:
                out[at:at] = out[at : at + rnd.choice((1, 2, 8, 64, 512))]
            case 4:  # a number as the encoding writes it, or as text
                v = rnd.choice(WORDS)
                out[at : at + 1] = leb128(v) if rnd.random() < 0.5 else str(v).encode()
            case 5:
                out[at : at + 8] = rnd.choice(WORDS).to_bytes(8, "little")
            case _:
                other = rnd.choice(others)
                start = rnd.randrange(len(other) + 1)
                out[at:at] = other[start : start + rnd.choice((4, 16, 64))]
    return bytes(out)


def leb128(v: int) -> bytes:
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes([*out, v])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    target, start = TARGETS[args.target], seeds(args.target)
    if not start:
        parser.error(f"no seeds for {args.target}")
    for data in start:
        target(data)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _late)
    rnd = random.Random(args.seed)
    end, count, slowest = time.monotonic() + args.seconds, 0, 0.0
    while time.monotonic() < end:
        data = mutated(rnd.choice(start), start, rnd)
        begun = time.monotonic()
        signal.alarm(ANSWER_SECONDS)
        try:
            target(data)
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt):
                raise
            signal.alarm(0)
            traceback.print_exc()
            path = CORPUS / args.target / hashlib.blake2b(data, digest_size=8).hexdigest()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{args.target}: failed after {count} inputs, seed {args.seed}; kept {path}", file=sys.stderr)
            return 1
        signal.alarm(0)
        slowest = max(slowest, time.monotonic() - begun)
        count += 1
    print(f"{args.target}: {count} inputs, the slowest took {slowest:.1f} s, seed {args.seed}")
    return 0


def _late(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {ANSWER_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
