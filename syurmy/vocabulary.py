"""Text to tokens and back: a ``tokenizer.json`` of Hugging Face's ``tokenizers``, or a JSON list of characters, token k
the k-th of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syurmy.files import read_bytes
from syurmy.isa.errors import InputError


class Vocabulary:
    """``data``: the file's bytes; ``digest``: their SHA-256 in hexadecimal digits; ``size``: tokens are below it."""

    def __init__(self, data: bytes, where: str) -> None:
        """Raises ``InputError`` F110 for what is no tokenizer, X150 where the package for it is missing."""
        import hashlib

        self.data, self.where = data, where
        self.digest = hashlib.sha256(data).hexdigest()
        self._characters: dict[str, int] = {}
        self._tokenizer: Any = None
        try:
            read = json.loads(data)
        except (ValueError, RecursionError) as e:
            raise self._unreadable("it is no JSON") from e
        if isinstance(read, list):
            if not read or not all(isinstance(c, str) and len(c) == 1 for c in read) or len(set(read)) != len(read):
                raise self._unreadable("a list of tokens holds one character each, all of them different")
            self._characters = {c: k for k, c in enumerate(read)}
            self._names = read
            self.size = len(read)
            return
        self._tokenizer = self._of_package()
        self.size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    def _of_package(self) -> Any:
        try:
            import tokenizers
        except ModuleNotFoundError as e:
            help = "pip install 'syurmy-vm[text]'"
            raise InputError("a tokenizer.json needs the package tokenizers", code="X150", help=help) from e
        try:
            made = tokenizers.Tokenizer.from_str(self.data.decode("utf-8"))
        except Exception as e:  # the package raises Exception itself
            raise self._unreadable(" ".join(str(e).split())[:200]) from e
        made.no_truncation()  # files keep what batches were cut and filled up to
        made.no_padding()
        return made

    @staticmethod
    def read(path: Path) -> Vocabulary:
        """From a file. Raises ``InputError``."""
        return Vocabulary(read_bytes(path), str(path))

    def _unreadable(self, why: str) -> InputError:
        help = "a tokenizer.json of the package tokenizers, or a JSON list of characters"
        return InputError(f"{self.where} is no tokenizer: {why}", code="F110", help=help)

    def refuse_other(self, vocabulary: int) -> None:
        """Raises ``InputError`` I142 where it has tokens that a model of so many has not."""
        if self.size > vocabulary:
            message = f"{self.where} has {self.size} tokens and the model {vocabulary}: it is another model's tokenizer"
            raise InputError(message, code="I142")

    def encode(self, text: str) -> list[int]:
        """Tokens of a text. Raises ``InputError`` I143 for characters that there are not."""
        if self._tokenizer is not None:
            return [int(t) for t in self._tokenizer.encode(text).ids]
        for c in text:
            if c not in self._characters:
                some = "".join(self._names[:64])
                message = f"the vocabulary has no character {c!r}"
                raise InputError(message, code="I143", help=f"it has {json.dumps(some, ensure_ascii=False)}")
        return [self._characters[c] for c in text]

    def misread(self, text: str, tokens: Sequence[int]) -> bool:
        """Whether the tokens of a text stand for another one, but for spaces and tokens that the vocabulary adds: it
        leaves out characters that it has not, or changes them."""
        if self._tokenizer is None:
            return False
        read = (self._tokenizer.decode(list(tokens), skip_special_tokens=skip) for skip in (True, False))
        return all("".join(r.split()) != "".join(text.split()) for r in read)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; one that the vocabulary has not is U+FFFD."""
        if self._tokenizer is not None:
            return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))
        return "".join(self._names[t] if 0 <= t < self.size else "�" for t in tokens)

    def added(self, before: Sequence[int], tokens: Sequence[int]) -> str:
        """What ``tokens``, which begin with ``before``, add to its text: what all of them are less what is the same."""
        old, new = self.decode(before), self.decode(tokens)
        same = next((k for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        return new[same:]
