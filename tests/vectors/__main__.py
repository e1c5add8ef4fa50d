"""``python -m tests.vectors [NAME ...]``: write the vectors anew, all or these."""

from __future__ import annotations

import sys

from tests.vectors.files import FOLDER, write
from tests.vectors.programs import BUNDLES, CASES

for name in sys.argv[1:] or [*CASES, *BUNDLES]:
    write(name)
    print(f"{name}: {sum(f.stat().st_size for f in (FOLDER / name).iterdir()):,} bytes")
