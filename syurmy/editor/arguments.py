"""Arguments of a request of the Debug Adapter Protocol: a JSON object from a client, checked key by key.

Each function returns the argument's value or raises ``Refused`` with a sentence that names it.
"""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


class Refused(Exception):
    """A request that cannot be carried out, with the sentence for the client."""


def whole(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def text(a: Body, key: str) -> str:
    value = a.get(key)
    if not isinstance(value, str):
        raise Refused(f"the argument '{key}' is missing, a text")
    return value


def number(a: Body, key: str) -> int:
    value = a.get(key)
    if not whole(value):
        raise Refused(f"the argument '{key}' is missing, a whole number")
    return int(value)  # type: ignore[arg-type]


def optional(a: Body, key: str) -> int:
    return 0 if a.get(key) is None else number(a, key)


def object_(a: Body, key: str) -> Body:
    value = a.get(key)
    if not isinstance(value, dict):
        raise Refused(f"the argument '{key}' is missing, an object")
    return value


def objects(a: Body, key: str) -> list[Body]:
    value = a.get(key) or []
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        raise Refused(f"the argument '{key}' is a list of objects")
    return [dict(x) for x in value]


def index_of(reference: str) -> int:
    try:
        return int(reference, 0)
    except ValueError:
        raise Refused(f"'{reference}' is no reference of an instruction") from None


def by_instruction(a: Body) -> bool:
    return a.get("granularity") == "instruction"
