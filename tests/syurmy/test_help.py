"""What help imports."""

import subprocess
import sys

PROGRAM = """
import sys
sys.argv = ["syurmy-vm", "run", "--help"]
from syurmy.cli import main
try:
    main()
except SystemExit as e:
    assert e.code == 0
loaded = [m for m in ("markdown_it", "pygments", "rich.markdown", "rich.traceback", "numpy") if m in sys.modules]
assert not loaded, loaded
from rich.markdown import Markdown
from rich.traceback import Traceback
assert Markdown("*x*").parsed and Traceback.from_exception
"""


def test_help_imports_no_renderers_and_leaves_none_behind():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--prove" in done.stdout
