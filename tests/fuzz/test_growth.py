"""The largest keys of a few families are answered in little time and memory; ``growth --check`` asks all of them."""

import pytest

from tests.fuzz.measure import cost, largest

SLACK = 2.5  # for slower machines, and for cores that others use as well
FEW = ("a_long_chain", "blocks_that_jump_over_code", "flips_of_a_vector", "registers_and_blocks")


@pytest.mark.slow
@pytest.mark.parametrize("family", FEW)
def test_the_largest_keys_cost_little(family):
    assert cost(family, largest(family)).problem(SLACK) is None
