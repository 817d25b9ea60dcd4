"""The contract kit of address authorities.

from ouro_unicast.testing.addresses import AddressAuthorityContract

class TestMine(AddressAuthorityContract):
    policy = MyAddresses
"""

from collections.abc import Callable
from random import Random
from typing import ClassVar

import pytest

from ouro_core.model.errors import ConfigError, OutOfMemory

from ..contracts import AddressAuthority

__all__ = ["AddressAuthorityContract"]


class AddressAuthorityContract:
    """Subclass it and set `policy`."""

    policy: ClassVar[type[AddressAuthority]]
    size: ClassVar[int] = 4
    addresses: ClassVar[int] = 1000
    """How many different ones it can give, 2 at least; where there are more than 1000, 1000."""

    def entropy(self) -> Callable[[int], bytes]:
        """A source that gives the same numbers in each test."""
        return Random(1).randbytes

    def test_addresses_fit_the_layer_and_are_never_0(self) -> None:
        policy, entropy = self.policy(self.size), self.entropy()
        for _ in range(1000):
            assert 0 < policy.draw(entropy) < 1 << 8 * self.size

    def test_what_is_taken_is_not_given_again(self) -> None:
        policy, entropy = self.policy(self.size), self.entropy()
        taken: set[int] = set()
        for _ in range(self.addresses):
            try:
                address = policy.draw(entropy, taken)
            except OutOfMemory as e:
                pytest.fail(f"{len(taken)} addresses are taken, and the authority has {self.addresses}: {e}")
            assert address not in taken
            taken.add(address)

    def test_an_address_that_is_taken_already(self) -> None:
        policy = self.policy(self.size)
        first = policy.draw(self.entropy())
        assert policy.draw(self.entropy(), [first]) != first

    def test_a_random_source_that_is_stuck_is_an_error_and_no_endless_loop(self) -> None:
        policy = self.policy(self.size)
        try:
            address = policy.draw(bytes)
        except OutOfMemory:
            return
        assert address

    @pytest.mark.parametrize("size", [0, 9, -1])
    def test_sizes_that_no_layer_has(self, size: int) -> None:
        with pytest.raises(ConfigError) as refused:
            self.policy(size)
        assert str(size) in str(refused.value), "the error does not name the size"
