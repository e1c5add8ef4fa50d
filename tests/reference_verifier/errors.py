"""What a refusal is."""

from __future__ import annotations


class Rejected(Exception):
    """The proof, key or certificate is not accepted. ``step``: which check it failed."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step


def require(condition: bool, step: str, message: str) -> None:
    if not condition:
        raise Rejected(step, message)
