"""The verifier can be audited alone: what importing it loads is listed here, and is not the prover nor a machine."""

import subprocess
import sys

import pytest

# A module that the verifier needs is added here on purpose, or the verifier does without it.
ALLOWED = {"syurmy", "syurmy.prover", "syurmy.prover.field"}
ALLOWED_FOLDERS = ("syurmy.isa", "syurmy.prover.protocol", "syurmy.prover.verifier")
OUTSIDE = {"numpy", "blake3"}  # beside Python's own library


def loaded_by(modules: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); import {modules}; print('\\n'.join(set(sys.modules) - before))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_closure_of_the_verifier():
    loaded = loaded_by("syurmy.prover.verifier.verify")
    ours = {m for m in loaded if m.split(".")[0] == "syurmy"}
    assert "syurmy.prover.verifier.opening" in ours
    for module in ours - ALLOWED:
        assert any(module == f or module.startswith(f + ".") for f in ALLOWED_FOLDERS), module
    others = {m.split(".")[0] for m in loaded - ours} - set(sys.stdlib_module_names)
    assert others <= OUTSIDE, others - OUTSIDE


@pytest.mark.slow
def test_the_product_loads_no_top_level_module_of_a_common_name():
    loaded = loaded_by("syurmy.cli, syurmy.prover.prove, syurmy.vm, syurmy.assembler, syurmy.compiler")
    assert not {m for m in loaded if m.split(".")[0] in {"isa", "assembler", "compiler", "vm", "prover", "gpu"}}
    assert not {m for m in loaded if m.startswith(("numba.cuda", "numba_cuda"))}  # where a device is used only
