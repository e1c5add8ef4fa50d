"""``syurmy-vm lsp`` and ``syurmy-vm dap``: what an editor starts."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from syurmy.commands.common import Debug


def lsp(debug: Debug = False) -> None:
    """Serve an editor: diagnostics, hover, completion, renaming, formatting of tensor assembly (stdin, stdout)."""
    _needs_extra("syurmy.editor.lsp").serve()


def dap(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Serve on this TCP port of this machine, 0 for a free one that is printed."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Serve an editor's debugger, by the Debug Adapter Protocol (stdin, stdout, or --port)."""
    from syurmy.editor import dap

    if port is None:
        dap.serve()
        return
    server = dap.Server(port)
    print(f"{dap.HOST}:{server.port}", flush=True)
    server.serve()


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
