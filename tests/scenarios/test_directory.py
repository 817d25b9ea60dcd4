"""Eight daemons in one unicast layer, over UDP on the loopback interface: names are found from every one of them."""

import itertools
import json
import time
from collections.abc import Iterator

import pytest

from ouro_core.model.errors import OuroError
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.host import eventually

from .members import WAIT, Members, members_of

pytest.importorskip("ouro_udp")
pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")

DAEMONS = 8
NAMES = 100


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    with members_of(DAEMONS, "127.0.78") as made:
        yield made


@pytest.mark.timeout(300)
def test_a_hundred_names_from_everywhere(members: Members) -> None:
    homes = {}
    for number, home in zip(range(NAMES), itertools.cycle(range(DAEMONS)), strict=False):
        name = f"service-{number}"
        members.irms[home].create_name(name)
        members.irms[home].reg_name(name, f"m{home}")
        homes[name] = home
    addresses = [members.state(i)["address"] for i in range(DAEMONS)]
    for i in range(DAEMONS):
        for name, home in homes.items():
            if i != home:
                eventually(
                    lambda i=i, name=name, home=home: members.lookup(i, name)[:1] == [addresses[home]], WAIT, name
                )
    assert sum(members.state(i)["names"] for i in range(DAEMONS)) == NAMES
    for i in range(DAEMONS):
        counters = members.dht(i, "counters")
        assert isinstance(counters, dict)
        assert counters["malformed"] == {}
        assert counters["limited"] == 0
        assert not members.state(i)["helping"]


@pytest.mark.timeout(120)
def test_the_commands(members: Members) -> None:
    host = members.hosts[5]
    members.irms[2].create_name("shown")
    members.irms[2].reg_name("shown", "m2")
    address = members.state(2)["address"]
    dotted = address.to_bytes(4, "little").hex(".")
    eventually(lambda: members.lookup(5, "shown") == [address], WAIT)
    shown = json.loads(host.ouro("dht", "show", "m5", "--json"))
    assert shown["state"]["usable"] == 7
    assert "answered" in host.ouro("dht", "show", "m5")
    assert host.ouro("dht", "lookup", "m5", "shown").startswith(f"{dotted}  expires 20")
    key = "0x" + hash_name("put by hand", HashAlgorithm.SHA3_256).hex()
    assert "stored at 7 members" in host.ouro("dht", "put", "m5", key, "67.12.00.00", "60")
    report = json.loads(members.hosts[1].ouro("dht", "lookup", "m1", "put by hand", "--json"))
    assert [v["address"] for v in report["values"]] == [0x1267]
    for words, why in (
        (("lookup", "m5", "nobody has this"), 'nobody in the layer has "nobody has this"'),
        (("lookup", "m9", "x"), 'no IPCP is called "m9"'),
        (("lookup", "m5", "0x12"), "is no hash of this layer; it needs 64"),
        (("put", "m5", "x", "0"), '"0" is not an address, which is a whole number from 1'),
        (("put", "m5", "x", "zz.12.00.00"), '"zz.12.00.00" is not an address; it needs four times two'),
        (("put", "m5", "x", "1.2.3.4"), "as ouro layer graph writes it"),
        (("put", "m5", "x", "1", "0"), '"0" is not a lifetime in seconds, which is a whole number from 1 to 86400'),
        (("put", "m5", "x", "1", "soon"), '"soon" is not a lifetime'),
        (("put", "m5", "x"), "Missing argument 'ADDRESS'"),
        (("show", "udp"), "has no operation ask"),
    ):
        with pytest.raises(AssertionError, match=why):
            host.ouro("dht", *words)


@pytest.mark.timeout(120)
def test_a_name_that_is_unregistered(members: Members) -> None:
    members.irms[3].create_name("short-lived")
    members.irms[3].reg_name("short-lived", "m3")
    eventually(lambda: members.lookup(7, "short-lived"), WAIT)
    members.irms[3].unreg_name("short-lived", "m3")
    eventually(lambda: not members.lookup(7, "short-lived"), WAIT)


@pytest.mark.timeout(120)
def test_a_member_that_is_killed(members: Members) -> None:
    """The last leaf of the tree: names of others are still found, at once, and its own where it comes back."""
    members.hosts[7].kill()
    begin = time.monotonic()
    for i in range(7):
        assert members.lookup(i, "service-0") or members.state(i)["names"]
    assert time.monotonic() - begin < 30.0
    with pytest.raises(OuroError):
        members.irms[7].rib_read("")
