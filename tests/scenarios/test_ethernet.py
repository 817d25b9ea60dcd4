"""Two daemons in two networks, joined by a pair of devices: the howto, docs/howto/ethernet.md, as programs run it."""

import json
import re
import sys
from collections.abc import Iterator

import pytest

from ouro_core.testing.host import Host, eventually
from ouro_core.testing.netns import Namespace, join, unusable

REASON = unusable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

OPING = [sys.executable, "-P", "-c", "from ouro_tools.oping import main; main()"]
CONFIG = """
[irmd]
direct = false
[name.{name}]
[{type}.e]
bootstrap = "lay"
dev = "v0"
reg = ["{name}"]
"""


@pytest.fixture(params=["eth-dix", "eth-llc"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    """Both hosts are configured by files, and serve "one" and "two"."""
    with Namespace() as here, Namespace() as there:
        join(here, "v0", there, "v0")
        hosts = []
        try:
            for network, name in ((here, "one"), (there, "two")):
                host = Host(config=CONFIG.format(name=name, type=request.param))
                hosts.append(host)
                with network.inside():
                    host.start()
                server = host.spawn([*OPING, "-l", "-Q"])
                host.ouro("bind", "process", str(server.pid), "name", name)
            yield hosts[0], hosts[1]
        finally:
            for host in hosts:
                host.__exit__(None, None, None)


def ping(host: Host, name: str, *options: str) -> str:
    """Its output. On a busy machine nobody may answer within the 200 ms that the IRM waits; then it is tried again."""
    for _ in range(10):
        done = host.run([*OPING, "-n", name, *options])
        if done.returncode == 0:
            return done.stdout
        assert "no layer knows it" in done.stderr, f"{done.stdout}{done.stderr}\n{host.log.read_text()}"
    raise AssertionError(f"{done.stdout}{done.stderr}\n{host.log.read_text()}")


def test_oping_both_ways(pair: tuple[Host, Host]) -> None:
    one, two = pair
    for host, name in ((one, "two"), (two, "one")):
        assert "5 packets transmitted, 5 received" in ping(host, name, "-c", "5", "-i", "10", "-s", "1400")
        assert "50 packets transmitted, 50 received" in ping(host, name, "-c", "50", "-i", "1", "-q", "data")


def test_what_is_shown(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    pinging = one.spawn([*OPING, "-n", "two", "-c", "500", "-i", "20"])
    tree = eventually(lambda: shown(one))
    assert tree["info"]["state"] == "operational"
    medium = tree["medium"]
    assert (medium["device"], medium["device_mtu"], medium["up"]) == ("v0", 1500, True)
    assert re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", medium["mac"])
    [flow] = tree["flows"].values()
    assert flow["peer"] in tree["peers"]
    assert [flow["peer"]] in tree["directory"].values()
    assert flow["endpoint"] > 0
    assert flow["peer_endpoint"] > 0
    assert tree["frames"]["tx"] > 0
    assert {"short", "foreign", "bad_length", "unknown_key", "bad_source", "ring_full"} <= tree["frames"].keys()
    assert {"malformed", "unexpected", "wrong_source", "unknown_name"} <= tree["management"].keys()
    text = one.ouro("ipcp", "show", "e")
    assert f"mac             {medium['mac']}" in text or medium["mac"] in text
    pinging.kill()


def shown(host: Host) -> dict[str, dict[str, dict[str, object]]] | None:
    """What `ouro ipcp show` says once packets have gone both ways."""
    tree: dict[str, dict[str, dict[str, object]]] = json.loads(host.ouro("ipcp", "show", "e", "--json"))
    return tree if tree["flows"] and tree["frames"]["rx"] else None


def test_a_member_that_is_gone_is_forgotten(pair: tuple[Host, Host]) -> None:
    """An allocation that leads to nothing ends in its time, and what was known of the name with it."""
    one, two = pair
    ping(one, "two", "-c", "2", "-i", "10")
    assert one.rib("ipcps/e/directory")
    two.ouro("ipcp", "destroy", "name", "e")
    code = 'import sys; from ouro_core import flow_alloc; flow_alloc("two", timeout=1.0)'
    done = one.run([sys.executable, "-c", code])
    assert "FlowTimeout" in done.stderr
    assert not one.rib("ipcps/e/directory")
    two.ouro("ipcp", "bootstrap", "type", one.rib("ipcps/e/info/type"), "name", "e", "layer", "lay", "dev", "v0")
    two.ouro("name", "reg", "two", "layer", "lay")
    ping(one, "two", "-c", "2", "-i", "10")
