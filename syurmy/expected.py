"""What a verifier wants a proof to say: values of public inputs and outputs, and the digest of the key.

Where the key says that an integer stands for a real, a real is expected: it is the one shown if that is the nearest by
the key's scale, or the same number in the model's dtype. Where it says that integers have labels, a label may be. Where
its program states a text, ``prompt`` and ``completion`` may be tokens or text. Of steps, what one step shows stands for
all of them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from syurmy import described, files
from syurmy.described import Shown
from syurmy.isa import reals
from syurmy.isa.arrays import I64, Array
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.prover.protocol.bundle import BundleKey
from syurmy.prover.protocol.description import CODE, RANK, Description, Quantity
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.tensors import TensorCommitment, meaning_of, same_meaning, told
from syurmy.prover.verifier.bundle import BundleStatement
from syurmy.prover.verifier.verify import Statement

SHORTEST = 50  # hexadecimal digits of a digest: who makes two keys or commitments that agree in them hashes 2^100 times
Values = Mapping[str, Array]


def values(
    options: Sequence[str], description: Description = Description(), texts: Sequence[str] = ()
) -> dict[str, Array]:
    """Tensors by name, from ``NAME=VALUE`` (a number, a list in JSON, a label), ``NAME=FILE``, or a ``FILE`` of named
    entries (.json, .npz); ``texts``: names of which anything else is a text. Raises ``InputError``."""
    said = {x.title: x for x in (*description.inputs, *description.outputs)}
    out: dict[str, Array] = {}
    for option in options:
        name, eq, text = option.partition("=")
        if eq and name in texts and files.literal(text) is None:
            given: Mapping[str, Any] = {name: _text(text)}
        elif eq and (name.isidentifier() or name in said):
            labels = said[name].labels if name in said else ()
            given = {name: _value(name, text, labels)}
        else:
            content = files.read_file(option)
            if not isinstance(content, Mapping):
                raise InputError(f"what is {option} the value of?", code="I108", help="use --expect NAME=FILE")
            if not content:
                raise InputError(f"{option} names no value, so nothing would be compared", code="I113")
            given = content
        for key, value in given.items():
            if key in out:
                raise InputError(f"'{key}' is expected twice", code="I107")
            out[key] = _entries(key, value)
    return out


def commitments(
    options: Sequence[str], key: VerifyingKey | BundleKey
) -> tuple[list[str], dict[str, TensorCommitment | str]]:
    """The options that are not about committed inputs and outputs, and what is expected of those: a commitment
    (``NAME=FILE``), or the hexadecimal digits with which its digest begins. Raises ``InputError``."""
    program = _interface(key)
    names = {key.description.input(i.name).title: i.name for i in program.inputs if i.committed}
    names |= {key.description.output(o.name).title: o.name for o in program.outputs if o.committed}
    names |= {name: name for name in names.values()}
    rest: list[str] = []
    out: dict[str, TensorCommitment | str] = {}
    for option in options:
        name, _, text = option.partition("=")
        if name not in names:
            rest.append(option)
        elif names[name] in out:
            raise InputError(f"'{name}' is expected twice", code="I107")
        elif os.path.exists(text):
            out[names[name]] = TensorCommitment.load(text)
        else:
            out[names[name]] = _digits(text, 32, f"--expect {name}=", "or the file of a commitment")
    return rest, out


def spoken(wanted: Values, texts: Sequence[str]) -> dict[str, str | list[Any]]:
    """Those of ``texts`` that are expected as text, or as tokens."""
    given = {name: wanted[name].tolist() for name in texts if name in wanted}
    return {name: value for name, value in given.items() if isinstance(value, str | list)}


def _interface(key: VerifyingKey | BundleKey) -> Program:
    """A program with the inputs and outputs that a key is for."""
    return key.interface if isinstance(key, BundleKey) else key.decoded


def other_commitment(
    statement: Statement, wanted: Mapping[str, TensorCommitment | str], key: VerifyingKey | BundleKey
) -> str:
    """The first commitment that is not the one expected, or that says another meaning than the key, as a sentence;
    empty if there is none."""
    inputs = {i.name for i in _interface(key).inputs if i.committed}  # an output may have the name of another input
    for name, expected in wanted.items():
        found = statement.commitments[name]
        digest = expected if isinstance(expected, str) else expected.digest().hex()
        if not found.digest().hex().startswith(digest):
            return f"committed {name} is {found.digest().hex()}, {digest} is expected"
        meaning = None if isinstance(expected, str) else expected.described
        said = statement.description.input if name in inputs else statement.description.output
        meant = meaning_of(said(name))
        if meaning is not None and meant is not None and not same_meaning(meaning, meant):
            return f"the integers of {name} are {told(meant)} to the key, {told(meaning)} to the commitment"
    return ""


def _digits(text: str, size: int, option: str, help: str) -> str:
    digits = text.lower().rstrip("…")
    if not SHORTEST <= len(digits) <= 2 * size or set(digits) - set("0123456789abcdef"):
        raise InputError(f"{option} takes {SHORTEST} to {2 * size} hexadecimal digits", code="I114", help=help)
    return digits


def _text(text: str) -> str:
    """As it is, or as a JSON string, which is how it is printed."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return said if isinstance(said, str) else text


def _value(name: str, text: str, labels: Sequence[str]) -> Any:
    if text in labels or text.strip('"') in labels:
        return text if text in labels else text.strip('"')
    if (value := files.literal(text)) is not None:
        return value
    if not os.path.exists(text.rpartition(":")[0] or text) and not os.path.exists(text):
        help = "for example --expect y=7, --expect y=[1,2] or --expect y=y.npy"
        if labels:
            import difflib

            near = difflib.get_close_matches(text, labels, 1)
            help = f"did you mean '{near[0]}'?" if near else f"labels of '{name}': {', '.join(labels[:8])}"
        raise InputError(f"--expect {name}={text} is neither a value nor a file", code="I113", help=help)
    content = files.read_file(text)
    if isinstance(content, Mapping):
        if name not in content:
            raise InputError(f"{text} has no entry '{name}'", code="F111")
        return content[name]
    return content


def _entries(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
        exact = np.array(array.tolist(), object) if array.dtype.kind in "biufU" else np.array(value, object)
    except ValueError:
        exact = np.array(None, object)
    if not all(isinstance(x, int | float | str) for x in exact.flat):
        raise InputError(f"what is expected of '{name}' is no rectangular array of numbers", code="I113")
    return exact


def difference(statement: Statement, wanted: Values, raw: bool = False) -> str:
    """The first difference between the statement's public values and those wanted, as a sentence; empty if there is
    none. ``raw``: the program's integers are wanted. Raises ``InputError`` for a name that the statement does not
    show."""
    shown = described.shown(statement)
    if raw:
        shown = [Shown(s.kind, Quantity(s.quantity.name), s.integers) for s in shown]
    steps = len(statement.steps) if isinstance(statement, BundleStatement) else 0
    for name, value in wanted.items():
        for s in _named(name, shown):  # an input and an output may share a name: then both must be as expected
            if steps and value.shape == np.shape(s.integers)[1:]:
                value = np.broadcast_to(value, np.shape(s.integers))
            if problem := _unlike(name, s, value):
                return problem
    return ""


def _named(name: str, shown: Sequence[Shown]) -> list[Shown]:
    """What is meant by a name: what is shown under it, else the program's register."""
    titles = [s.quantity.title for s in shown]
    for names in (titles, [s.quantity.name for s in shown]):
        if name in names:
            return [s for s, own in zip(shown, names, strict=True) if own == name]
    import difflib

    near = difflib.get_close_matches(name, titles, 1)
    help = f"did you mean '{near[0]}'?" if near else f"it shows {', '.join(titles) or 'nothing'}"
    raise InputError(f"the proof shows no '{name}'", code="I101", help=help)


def _unlike(name: str, s: Shown, value: Array) -> str:
    found = np.asarray(s.integers)
    if found.size == value.size == 1 and value.ndim == 0:
        value = value.reshape(found.shape)
    if found.shape != value.shape:
        return f"'{name}' has shape {list(found.shape)}, {list(value.shape)} is expected"
    if s.quantity.form == RANK:
        help = "expect the integers, with --raw"
        raise InputError(f"the key does not tell which '{name}' its integers stand for", code="I117", help=help)
    text = described.digits(s.quantity) or str
    meant = s.quantity.reals(found)
    for at in _unequal(s.quantity, found, value):
        place = f"{name}{list(at) if at else ''}"
        label = s.quantity.label(int(found[at]))
        known = f" ({described.quoted(label)})" if label else ""
        unit = f" {s.quantity.unit}" if s.quantity.unit else ""
        expected = described.quoted(value[at]) if isinstance(value[at], str) else value[at]
        return f"{place} is {text(meant[at])}{unit}{known}, {expected} is expected"
    return ""


def _unequal(x: Quantity, q: I64, value: Array) -> list[tuple[int, ...]]:
    """The first place where a value is not what is expected, if there is one."""
    scales = x.scales * (q.shape[-1] if len(x.scales) == 1 and q.ndim else 1)
    own = x.values(q)
    with np.errstate(over="ignore", invalid="ignore"):
        for at in np.ndindex(q.shape):
            scale = scales[at[-1] if at else 0] if scales else None
            if not _holds(x, int(q[at]), own[at], value[at], scale):
                return [at]
    return []


def _holds(x: Quantity, q: int, own: Any, wanted: Any, scale: Fraction | None) -> bool:
    """Is ``wanted`` what ``q`` stands for? ``own``: that in its dtype."""
    if isinstance(wanted, str):
        return x.label(q) == wanted
    if scale is None and x.form != CODE:
        return bool(q == wanted)  # Python's comparison, exact also between integers and reals
    try:
        same = np.dtype(x.dtype).type(wanted)
    except OverflowError:  # an integer beyond all floats
        return False
    if x.form == CODE:
        return bool(same == own or (np.isnan(same) and np.isnan(own)))
    if scale is None or not math.isfinite(wanted) or not np.isfinite(own):
        return False
    if same == own or 2 * abs(Fraction(wanted) - q * scale) <= scale:
        return True
    if same.itemsize == 8:
        return False
    return bool(reals.integers(np.asarray(same, np.float64), float(scale)) == q)  # as a model's own input is rounded


def other_key(digest: bytes, wanted: str) -> str:
    """A sentence if the digest does not begin with the hexadecimal digits wanted. Raises ``InputError`` for fewer than
    ``SHORTEST`` digits, or others."""
    text = _digits(wanted, len(digest), "--expect-key", "the whole digest, as setup and info print it")
    return "" if digest.hex().startswith(text) else f"the key is {digest.hex()}, {text} is expected"
