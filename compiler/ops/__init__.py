"""One lowering per operator, one file per family. Importing this package fills the registry of ``compiler.lower``."""

import importlib
import pkgutil

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
