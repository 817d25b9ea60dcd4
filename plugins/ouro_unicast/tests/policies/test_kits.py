"""The kits themselves: what each finds wrong, and right policies of others that it must let pass."""

import random
from collections.abc import Callable, Collection
from typing import Any

import pytest
from attrs import frozen
from ouro_unicast.contracts import AddressAuthority, CongestionPolicy, CongestionSender, PffPolicy
from ouro_unicast.pff import SimplePff
from ouro_unicast.routing.link_state import LinkStateConfig, LinkStateRouting
from ouro_unicast.testing.addresses import AddressAuthorityContract
from ouro_unicast.testing.congestion import CongestionContract
from ouro_unicast.testing.pff import PffContract
from ouro_unicast.testing.routing import RoutingContract

from ouro_core.contracts.programs import Group
from ouro_core.model.config import option
from ouro_core.model.errors import ConfigError, OuroError, OutOfMemory

# ---------------------------------------------------------------- right ones


class LastPff(PffPolicy):
    """A PFF of another distribution."""

    name = "last"

    def group(self, ports: tuple[int, ...]) -> Group:
        return Group(ports[-1:])


class LastHop(LinkStateRouting):
    name = "last_hop"
    pff = "last"


class TestLastHop(RoutingContract):
    policy = LastHop
    pff = LastPff
    settles = 80.0


class Few(AddressAuthority):
    """16 addresses."""

    name = "few"

    def __init__(self, size: int) -> None:
        if not 1 <= size <= 8:
            raise ConfigError(f"addresses have 1 to 8 bytes, and not {size}")

    def draw(self, entropy: Callable[[int], bytes], taken: Collection[int] = ()) -> int:
        free = [address for address in range(1, 17) if address not in taken]
        if not free:
            raise OutOfMemory("all 16 addresses are taken")
        return free[entropy(1)[0] % len(free)]


class TestFew(AddressAuthorityContract):
    policy = Few
    addresses = 16


class FixedRate(CongestionPolicy):
    """1 MB/s for each flow."""

    name = "fixed_rate"
    ecn_shift = None

    def sender(self, now: int) -> CongestionSender:
        return FixedRateSender()


class FixedRateSender(CongestionSender):
    turn = 0

    def packet(self, size: int, now: int) -> int:
        self.turn = max(self.turn, now) + size * 1000
        return self.turn - size * 1000 - now

    def feedback(self, ece: int, now: int) -> None:
        pass


class TestFixedRate(CongestionContract):
    policy = FixedRate
    avoids = False
    uses = 990_000


# ---------------------------------------------------------------- wrong ones


class AnyPff(PffPolicy):
    name = "any"

    def group(self, ports: tuple[int, ...]) -> Group:
        return Group(tuple(random.sample(ports, len(ports))))


class Shift(FixedRate):
    ecn_shift = 99


class HalfNanoseconds(FixedRate):
    def sender(self, now: int) -> CongestionSender:
        class Half(FixedRateSender):
            def packet(self, size: int, now: int) -> Any:
                return 0.5

        return Half()


def _pairs(text: str) -> tuple[str, ...]:
    return tuple(text.split("+"))


@frozen
class OneWay(LinkStateConfig):
    metrics: tuple[str, ...] = option(("a", "b"), parse=_pairs, help="metrics")


class OneWayRouting(LinkStateRouting):
    Config = OneWay


@frozen
class Commas(LinkStateConfig):
    metrics: str = option("a,b", parse=str, help="metrics")


class CommasRouting(LinkStateRouting):
    Config = Commas


@pytest.mark.parametrize(
    ("kit", "policy", "test", "says"),
    [
        (CongestionContract, Shift, "test_a_forwarder_takes_its_numbers", "0 to 31"),
        (CongestionContract, HalfNanoseconds, "test_waits_are_never_negative_and_nobody_starves", "0.5"),
        (CongestionContract, FixedRate, "test_the_link_is_used", "a flow alone gets 1000000 "),
        (AddressAuthorityContract, Few, "test_what_is_taken_is_not_given_again", "16 addresses are taken"),
        (RoutingContract, OneWayRouting, "test_the_configuration_travels", "`show` of metrics"),
        (RoutingContract, CommasRouting, "test_the_configuration_travels", "metrics=a,b"),
    ],
)
def test_a_kit_says_what_is_wrong(kit: type, policy: type, test: str, says: str) -> None:
    mine = type("Mine", (kit,), {"policy": policy})()
    with pytest.raises((AssertionError, pytest.fail.Exception), match=says):
        getattr(mine, test)()


def test_a_group_that_is_drawn_by_chance() -> None:
    found = []
    for _ in range(40):  # each is found out with three chances in four
        try:
            type("Mine", (PffContract,), {"policy": AnyPff})().test_equal_ports_give_equal_groups()
        except AssertionError as e:
            found.append(str(e))
    assert found
    assert "from the ports alone" in found[0]


def test_a_pff_that_is_not_installed_is_named() -> None:
    class Kit(RoutingContract):
        policy = LastHop

    with pytest.raises(OuroError, match=r"last.*simple|simple.*last"):
        Kit().test_there_is_no_way_to_oneself()
    Kit.pff = SimplePff
    Kit().test_there_is_no_way_to_oneself()
