"""Everything that fuzzing or an attack once found is answered, and so are honest inputs."""

import pytest

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("path", sorted(p for p in CORPUS.glob("*/*")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_kept_inputs_are_answered(path):
    TARGETS[path.parent.name](path.read_bytes())
