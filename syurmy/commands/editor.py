"""``syurmy-vm lsp`` and ``syurmy-vm dap``: what an editor starts."""

from __future__ import annotations

import importlib
from typing import Any

from syurmy.commands.common import Debug


def lsp(debug: Debug = False) -> None:
    """Serve an editor: diagnostics, hover, completion, renaming, formatting of tensor assembly (stdin, stdout)."""
    _needs_extra("syurmy.editor.lsp").serve()


def _needs_extra(module: str) -> Any:
    from syurmy.isa.errors import InputError

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        raise InputError(
            f"the language server needs {e.name}",
            code="X150",
            help="install the extra: pip install 'syurmy-vm[editor]'",
        ) from None
