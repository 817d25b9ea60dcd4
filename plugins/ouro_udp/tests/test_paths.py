"""A path with a link narrower than that of the client: client, router, server, in a namespace each. Needs root.

The first datagram that is too long is lost. The router says so to the client's kernel, which takes the later ones to
pieces. Nobody else notices: no error, no flow that goes down.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from ouro_core.testing.host import Host
from ouro_core.testing.netns import Namespace, join, unusable

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))
CONFIG = "[irmd]\ndirect = false\n"
NARROW = 1300
NETWORKS = {"udp4": ("10.77.1.{}", "10.77.2.{}", 24), "udp6": ("fd77:1::{}", "fd77:2::{}", 64)}
SERVER = """
from ouro_core import announce, flow_accept
announce("far")
print("ready", flush=True)
with flow_accept() as flow:
    flow.write(flow.data[:1000])
    for packet in flow:
        flow.write(packet)
"""
CLIENT = """
import json, sys
from ouro_core import FlowTimeout, flow_alloc
data, size = bytes(range(256)) * 100, 1400
data = data[:int(sys.argv[1])]
with flow_alloc("far", data=data, timeout=20) as flow:
    flow.read_timeout = 1.0
    assert flow.read() == data[:1000]
    lost = 0
    while True:                     # until the kernel knows
        flow.write(b"%4d" % lost + bytes(size - 4))
        try:
            assert flow.read()[:4] == b"%4d" % lost
            break
        except FlowTimeout:
            lost += 1
            assert lost < 15, "packets never get there"
    came = 0
    for n in range(50):
        flow.write(b"%4d" % n + bytes(size - 4))
        flow.write(b"short")
        for _ in range(2):
            came += len(flow.read()) in (size, 5)
    print(json.dumps([lost, came]))
"""


@frozen
class Chain:
    """`network` is the client's, `address` the server's."""

    network: Namespace
    client: Host
    server: Host
    address: str


@pytest.fixture(params=list(NETWORKS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chain]:
    near, far, bits = NETWORKS[request.param]
    with ExitStack() as stack:
        client, router, server = (stack.enter_context(Namespace()) for _ in range(3))
        for network in (client, router, server):
            with network.inside():
                forwards = str(int(network is router))
                for switch, value in (("disable_ipv6", "0"), ("accept_dad", "0"), ("forwarding", forwards)):
                    for which in ("all", "default"):
                        Path(f"/proc/sys/net/ipv6/conf/{which}/{switch}").write_text(value)
                Path("/proc/sys/net/ipv4/ip_forward").write_text(forwards)
        join(client, "v0", router, "v0")
        join(router, "v1", server, "v0", mtu=NARROW)
        words = ["nodad"] if request.param == "udp6" else []
        for network, device, address in (
            (client, "v0", near.format(1)), (router, "v0", near.format(2)),
            (router, "v1", far.format(2)), (server, "v0", far.format(1)),
        ):  # fmt: skip
            network.ip("addr", "add", f"{address}/{bits}", "dev", device, *words)
        client.ip("route", "add", "default", "via", near.format(2))
        server.ip("route", "add", "default", "via", far.format(2))
        hosts = []
        for name, network, table in (
            ("client", client, f'ip = "{near.format(1)}"\npeers = "far={far.format(1)}"\n'),
            ("server", server, f'ip = "{far.format(1)}"\nreg = ["far"]\n'),
        ):
            (tmp_path / name).mkdir()
            with network.inside():
                config = f'{CONFIG}[{request.param}.u]\nbootstrap = "net"\n{table}'
                hosts.append(stack.enter_context(Host(tmp_path / name, config)))
        yield Chain(client, *hosts, far.format(1))


@pytest.mark.parametrize(
    ("data", "loses"), [(10, 1), (1250, 0), (20_000, 0)], ids=["packet", "long request", "fragments"]
)
def test_a_narrow_link(path: Chain, data: int, loses: int) -> None:
    """What is the first to be too long: a packet, which is lost; a request, which is repeated; its fragments, which
    are sent again.
    """
    program = path.server.python(SERVER)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    done = path.client.run([sys.executable, "-c", CLIENT, str(data)])
    assert done.returncode == 0, done.stdout + done.stderr + path.client.log.read_text()
    lost, came = json.loads(done.stdout)
    assert (lost, came) == (loses, 100)
    assert f"mtu {NARROW}" in path.network.ip("route", "get", path.address)
    frames = path.client.rib("ipcps/u/frames")
    assert (frames["tx_error"], frames["too_long"]) == (0, 0)
