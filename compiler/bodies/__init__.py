"""Operators by body: each is replaced by a graph of older operators of the default domain, before anything is observed.

The bodies are in the other files, one per family; importing this package fills the table of ``engine``. A body is
written for every opset from the oldest on (``writer``), so that a model's version decides nothing but its spelling.
"""

import importlib
import pkgutil

from syurmy.compiler.bodies.engine import expanded, has_body, replaced

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

from syurmy.compiler.bodies.selections import without_selections  # noqa: E402

__all__ = ["expanded", "has_body", "replaced", "without_selections"]
