"""The verifier can be audited alone: what importing it loads is listed here, and is not the prover nor a machine."""

import subprocess
import sys

# A module that the verifier needs is added here on purpose, or the verifier does without it.
ALLOWED = {
    "syurmy",
    "syurmy.gpu",
    "syurmy.host",
    "syurmy.prover",
    "syurmy.prover.field",
}
ALLOWED_FOLDERS = ("syurmy.isa", "syurmy.prover.protocol", "syurmy.prover.verifier", "syurmy.prover.kernels")
KERNELS = {"", ".blake3", ".field", ".matrix", ".mle", ".ntt", ".pool"}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_closure_of_the_verifier():
    loaded = {m for m in loaded_by("syurmy.prover.verifier.verify") if m.split(".")[0] == "syurmy"}
    assert "syurmy.prover.verifier.opening" in loaded
    for module in loaded - ALLOWED:
        assert any(module == f or module.startswith(f + ".") for f in ALLOWED_FOLDERS), module
        if module.startswith("syurmy.prover.kernels"):
            assert module.removeprefix("syurmy.prover.kernels") in KERNELS, module


def test_the_product_loads_no_top_level_module_of_a_common_name():
    loaded = loaded_by("syurmy.cli, syurmy.prover.prove, syurmy.vm, syurmy.assembler, syurmy.compiler")
    assert not {m for m in loaded if m.split(".")[0] in {"isa", "assembler", "compiler", "vm", "prover", "gpu"}}
