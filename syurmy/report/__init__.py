"""The report of one run: what it costs, what its tensors hold, and how far it is from the float model, as one page."""

from enum import StrEnum


class By(StrEnum):
    """What costs are added up by."""

    instruction = "instruction"
    line = "line"
    node = "node"
