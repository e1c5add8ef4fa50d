"""How many examples a property draws, and seeds for what hypothesis does not draw itself."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)  # for np.random.default_rng


def examples(count: int, **options: Any) -> settings:
    """Settings for ``count`` examples; as many times more or fewer as the profile in use draws of others."""
    usual = settings.get_profile("fixed").max_examples
    return settings(max_examples=max(1, count * settings.default.max_examples // usual), **options)
