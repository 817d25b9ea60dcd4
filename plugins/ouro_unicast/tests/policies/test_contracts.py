"""Every policy of the plugin against the contract of its kind."""

import pytest
from ouro_unicast import addresses, congestion, pff, routing
from ouro_unicast.routing.link_state import EcmpRouting, LfaRouting, LinkStateRouting
from ouro_unicast.testing.addresses import AddressAuthorityContract
from ouro_unicast.testing.congestion import CongestionContract
from ouro_unicast.testing.pff import PffContract
from ouro_unicast.testing.routing import RoutingContract


class LinkStateContract(RoutingContract):
    reacts = 0.1
    settles = 80.0


class TestLinkState(LinkStateContract):
    policy = LinkStateRouting


class TestLfa(LinkStateContract):
    policy = LfaRouting


class TestEcmp(LinkStateContract):
    policy = EcmpRouting


class TestSimplePff(PffContract):
    policy = pff.SimplePff


class TestAlternatePff(PffContract):
    policy = pff.AlternatePff


class TestMultipathPff(PffContract):
    policy = pff.MultipathPff


class TestFlatAddresses(AddressAuthorityContract):
    policy = addresses.FlatAddresses


class TestMbEcn(CongestionContract):
    policy = congestion.MbEcn


class TestNoCongestionAvoidance(CongestionContract):
    policy = congestion.NoCongestionAvoidance
    avoids = False


@pytest.mark.parametrize("module", [routing, pff, addresses, congestion])
def test_no_policy_is_left_out(module: object) -> None:
    tested = {kit.policy for kit in globals().values() if isinstance(kit, type) and hasattr(kit, "policy")}
    assert set(module.POLICIES) <= tested
