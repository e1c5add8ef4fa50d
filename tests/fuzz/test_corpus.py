"""Everything that fuzzing or an attack once found is answered, and so are honest inputs."""

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, honest


@pytest.mark.parametrize("path", sorted(p for p in CORPUS.glob("*/*")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_kept_inputs_are_answered(path):
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_honest_inputs_are_taken(name):
    """Fuzzing that starts from refused inputs would reach nothing behind the first check."""
    for data in honest(name):
        assert TARGETS[name](data)
