"""The TextMate grammar of tensor assembly, from the instruction registry: ``python -m syurmy.editor.grammar [--check]``
writes or checks ``editors/vscode/syntaxes/tasm.tmLanguage.json``.

Exit codes: 0 written or up to date, 1 stale (``--check``), 2 bad usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.assembler.syntax import DIRECTIVES, VISIBILITIES
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.types import DType

PATH = Path(__file__).resolve().parents[2] / "editors" / "vscode" / "syntaxes" / "tasm.tmLanguage.json"
NAME = r"[A-Za-z_]\w*(?:\.\w+)*"


def grammar() -> str:
    """The file's text."""
    jumps = [op.name for op in REGISTRY.values() if op.flow is not Flow.NEXT]
    others = [op.name for op in REGISTRY.values() if op.flow is Flow.NEXT]
    labels = rf"((?:%?{NAME}\s*:\s*)*)"
    content: dict[str, Any] = {
        "name": "Tensor assembly",
        "scopeName": "source.tasm",
        "patterns": [{"include": f"#{part}"} for part in ("comment", "macro", "declaration", "statement")],
        "repository": {
            "comment": {"name": "comment.line.semicolon.tasm", "match": ";.*$"},
            "macro": _line(rf"^\s*(\.macro)\s+({NAME})", ["keyword.control.directive", "entity.name.function.macro"]),
            "declaration": {
                "begin": rf"^\s*(?:({_any(d[1:] for d in DIRECTIVES)})|(\.\w*))(?![\w.])",
                "end": "$",
                "beginCaptures": {
                    "1": {"name": "keyword.control.directive.tasm"},
                    "2": {"name": "invalid.illegal.directive.tasm"},
                },
                "patterns": [
                    {"include": "#comment"},
                    {"name": "storage.modifier.tasm", "match": rf"\b(?:{'|'.join(VISIBILITIES)})\b"},
                    {"name": "keyword.other.tasm", "match": r"\b(?:in|bounds|l1)\b"},
                    {"include": "#values"},
                ],
            },
            "statement": {
                "begin": rf"^\s*(?=[%A-Za-z_]){labels}(?:(?:({_words(jumps)})|({_words(others)})|({NAME}))(?![\w.]))?",
                "end": "$",
                "beginCaptures": {
                    "1": {"patterns": [
                        {"name": "entity.name.label.tasm", "match": rf"%?{NAME}"},
                        {"name": "punctuation.separator.tasm", "match": ":"},
                    ]},
                    "2": {"name": "keyword.control.tasm"},
                    "3": {"name": "support.function.tasm"},
                    "4": {"name": "entity.name.function.macro.tasm"},
                },
                "patterns": [
                    {"include": "#comment"},
                    {"name": "variable.parameter.tasm", "match": r"\b\w+(?=\s*=)"},
                    {"include": "#values"},
                ],
            },
            "data": {
                "begin": r"\{",
                "end": r"\}",
                "name": "meta.data.tasm",
                "captures": {"0": {"name": "punctuation.section.braces.tasm"}},
                "patterns": [{"include": f"#{part}"} for part in ("data", "comment", "values")],
            },
            "values": {"patterns": [
                {"include": "#data"},
                {"name": "string.quoted.double.tasm", "match": r'"[^"]*"'},
                {"name": "storage.type.tasm", "match": rf"\b(?:{'|'.join(d.value for d in DType)})\b"},
                {"name": "constant.language.tasm", "match": r"\b(?:true|false)\b"},
                {"name": "constant.numeric.tasm", "match": r"\b(?:0x[0-9a-fA-F]+|[0-9]+)\b"},
                {"name": "variable.other.local.tasm", "match": rf"(?<![\w)\]])%{NAME}"},
                {"name": "variable.other.tasm", "match": rf"\b{NAME}"},
                {"name": "keyword.operator.tasm", "match": r"->|\.\.|\*\*|//|[-+*/%=]"},
                {"name": "punctuation.separator.tasm", "match": r"[,:]"},
                {"name": "punctuation.section.brackets.tasm", "match": r"[\[\]()]"},
            ]},
        },
    }  # fmt: skip
    return json.dumps(content, indent=2) + "\n"


def _line(begin: str, scopes: list[str]) -> dict[str, Any]:
    return {
        "begin": begin,
        "end": "$",
        "beginCaptures": {str(k): {"name": f"{scope}.tasm"} for k, scope in enumerate(scopes, 1)},
        "patterns": [
            {"include": "#comment"},
            {"name": "variable.parameter.tasm", "match": rf"(?<=[(,])\s*{NAME}"},
            {"include": "#values"},
        ],
    }


def _any(words: Any) -> str:
    return rf"\.(?:{_words(words)})"


def _words(words: Any) -> str:
    return "|".join(sorted(words, key=lambda w: (-len(w), w)))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m syurmy.editor.grammar [--check]", file=sys.stderr)
        return 2
    text = grammar()
    if not arguments:
        PATH.write_text(text, encoding="utf-8")
        return 0
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PATH.name} is stale: run python -m syurmy.editor.grammar", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
