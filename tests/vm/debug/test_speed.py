"""A run under the debugger takes at most twice as long as one without (``python -m benchmarks.debugger`` measures)."""

from __future__ import annotations

import pytest

from benchmarks.debugger import measure


@pytest.mark.slow
@pytest.mark.parametrize("name", ["interpreter", "generate_text"])
def test_at_most_twice_as_long(name: str) -> None:
    r = measure(name, turns=5)
    assert r.debugged < 2 * r.alone
    assert r.armed < 2 * r.alone
