"""A service that verifies proofs for one key: FastAPI around one ``Verifier``.

    pip install 'syurmy-vm[examples]' uvicorn
    SYURMY_KEY=digits_mlp.vk SYURMY_DIGEST=f09c... uvicorn --factory examples.service:from_environment
    curl --data-binary @digits_mlp.proof http://127.0.0.1:8000/verify

The verifier needs NumPy and BLAKE3 only, so ``syurmy-verify`` does instead of ``syurmy-vm``. Budgets: bytes of a proof
(what is longer is not read), steps and batch of its run (rejected before any work), proofs verified at once (others are
told to come back). A proof that is rejected is an answer, not an error: 200 with ``verified: false``.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from syurmy import Rejected, Statement, Verifier, VerifyingKey

MAX_BYTES = 4 * 2**20
MAX_STEPS, MAX_BATCH = 100_000, 64
AT_ONCE, WAITING = 2, 8


def service(key: VerifyingKey, *, max_bytes: int = MAX_BYTES, max_steps: int = MAX_STEPS) -> FastAPI:
    """The application for one key."""
    app = FastAPI(title="verify")
    verifier = Verifier(key, max_steps=max_steps, max_batch=MAX_BATCH)  # prepared once, used by all threads
    free = asyncio.Semaphore(AT_ONCE)
    waiting = 0

    @app.get("/key")
    def describe() -> dict[str, Any]:
        return {"digest": key.digest().hex(), "program": verifier.program.name, "title": key.description.title}

    @app.post("/verify")
    async def verify(request: Request) -> dict[str, Any]:
        nonlocal waiting
        proof = bytearray()
        async for piece in request.stream():
            proof += piece
            if len(proof) > max_bytes:
                raise HTTPException(413, f"a proof has at most {max_bytes} bytes here")
        if waiting >= WAITING:
            raise HTTPException(503, "too many proofs at once", {"Retry-After": "1"})
        waiting += 1
        try:
            async with free:
                return await run_in_threadpool(answer, bytes(proof))
        finally:
            waiting -= 1

    def answer(proof: bytes) -> dict[str, Any]:
        try:
            return {"verified": True, **shown(verifier.verify(proof))}
        except Rejected as e:
            return {"verified": False, "step": e.step, "reason": e.reason}

    return app


def shown(statement: Statement) -> dict[str, Any]:
    """What the proof shows, in reals where the key has scales."""
    return {
        "inputs": {name: value.tolist() for name, value in statement.input_values.items()},
        "outputs": {name: value.tolist() for name, value in statement.output_values.items()},
        "soundness_bits": statement.soundness_bits,
    }


def from_environment() -> FastAPI:
    """The application for the key in ``SYURMY_KEY``, which must have the digest ``SYURMY_DIGEST``: whose key it is was
    settled before, and not by who sends proofs."""
    key = VerifyingKey.load(os.environ["SYURMY_KEY"])
    if key.digest().hex() != os.environ["SYURMY_DIGEST"]:
        raise SystemExit(f"the key has digest {key.digest().hex()}")
    return service(key)
