"""What can be wrong with a model, as users see it.

M101 not an ONNX file or truncated, M102 external data missing, M103 cyclic or undefined tensors, M104 opset, M105 NaN,
M106 larger than 2 GiB, M107 a shape is not fixed, M108 the model breaks a rule of ONNX, M109 calibration data, M110
something in it has no lowering, M111 the float model gives NaN, M112 no causal language model of a known form, M113
logits depend on later tokens, M114 what a small file stands for is too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syurmy.isa.errors import SyurmyError


class ModelError(SyurmyError):
    """A model cannot be read or is not valid."""

    code = "M100"


@dataclass(frozen=True)
class Problem:
    """One node that cannot be compiled: ``reason``, and what would be needed."""

    node: str
    op: str
    reason: str
    need: str = ""

    def __str__(self) -> str:
        return f"{self.op} '{self.node}': {self.reason}" + (f" (needed: {self.need})" if self.need else "")


class UnsupportedModel(ModelError):
    """Everything in the model that cannot be compiled, at once."""

    code = "M110"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} node{'s' if len(problems) > 1 else ''}"
        listed = "\n".join(f"  {p}" for p in problems)
        super().__init__(f"{count} of the model cannot be compiled:\n{listed}", help="nothing was written")


class Unsupported(Exception):
    """Raised by a lowering for its node; the driver collects them into one ``UnsupportedModel``."""

    def __init__(self, reason: str, need: str = "") -> None:
        super().__init__(reason)
        self.reason, self.need = reason, need
