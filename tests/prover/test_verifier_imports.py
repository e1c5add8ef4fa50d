"""The verifier can be audited alone: it imports no prover code and no virtual machine."""

import subprocess
import sys

PROVER = ["prove", "lookup", "sumcheck", "opening", "contract", "commitment", "witness", "keys", "check"]


def test_import_closure_of_the_verifier():
    code = "import sys, prover.verifier.verify; print('\\n'.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "prover.verifier.opening" in loaded
    assert not loaded & {f"prover.{name}" for name in PROVER}
    assert not {m for m in loaded if m.split(".")[0] in ("vm", "syurmy", "assembler")}
