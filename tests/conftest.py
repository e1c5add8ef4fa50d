"""Hypothesis draws the same examples on every machine and in every run, so that the tests pass or fail for everybody.
``make check`` draws a quarter as many: the profile ``quick``.

``make explore`` draws new ones: the profile ``explore`` with a seed. The seed alone decides what is drawn (examples
that failed before are not kept), so that a failure is repeated by the command that it prints.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from syurmy import host, pace
from syurmy.isa import refusal

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.register_profile(
    "explore",
    derandomize=False,
    database=None,
    deadline=None,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")
refusal.STRICT = True


@pytest.fixture(scope="session", autouse=True)
def pace_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands that run inside of the tests prove in a process that is warm: how long that takes says nothing of the
    user's next proof, and is not kept where that is asked for."""
    users, asked, own = host.cache_folder(), pace._path, tmp_path_factory.mktemp("pace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_path", lambda: own / asked().name if host.cache_folder() == users else asked())
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """After a failure with a seed: how to draw the same examples again."""
    seed = config.getoption("hypothesis_seed", None)
    failed = [report.nodeid for report in terminalreporter.stats.get("failed", [])]
    for test in failed if seed is not None else []:
        terminalreporter.write_line(f"again: make explore SEED={seed} ROUNDS=1 ARGS=\"'{test}'\"")
