"""Two hosts in two networks, joined by a pair of devices, over each of the four types: what must not harm others."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from attrs import frozen

from ouro_core.model.irm_requests import ListIpcps, RegName
from ouro_core.testing.host import Host, end, eventually
from ouro_core.testing.netns import Namespace, join, unusable

REASON = unusable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
TYPES = ("eth-dix", "eth-llc", "udp4", "udp6")
ADDRESSES = {"udp4": ("10.80.0.1", "10.80.0.2", 24), "udp6": ("fd80::1", "fd80::2", 64)}

ECHO = """
import asyncio, contextlib, sys
from ouro_core import OuroError, aio
async def serve():
    while True:
        with contextlib.suppress(OuroError):
            async with await aio.flow_accept() as flow:
                while (packet := await flow.read()) != b"bye":
                    await flow.write(packet)
async def main():
    await aio.announce(*sys.argv[1:])
    print("ready", flush=True)
    await asyncio.gather(*(serve() for _ in range(60)))
asyncio.run(main())
"""
"""`ECHO NAME...` serves them, sixty flows at once. No layer here says that a client has gone: it says so itself."""
ASLEEP = """
import sys, time
from ouro_core import announce
announce(sys.argv[1])
print("ready", flush=True)
time.sleep(600)
"""
"""`ASLEEP NAME` is bound to it, and never accepts."""
CROWD = """
import asyncio, sys
from ouro_core import FlowTimeout, OuroError, aio
waiting = had = done = 0
async def in_vain():
    global waiting
    while not done:
        waiting += 1
        try:
            await aio.flow_alloc("asleep", timeout=20)
            raise AssertionError("nobody accepts")
        except FlowTimeout:
            pass
async def talk(name):
    global had
    while waiting <= 16:
        async with await aio.flow_alloc(name, timeout=20) as flow:
            await flow.write(name.encode())
            assert await flow.read() == name.encode()
            await flow.write(b"bye")
            had += 1
async def main():
    global done
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(in_vain())
        async with asyncio.TaskGroup() as honest:
            for name in sys.argv[1:]:
                honest.create_task(talk(name))
        done = True
    print(had)
asyncio.run(asyncio.wait_for(main(), 100))
"""
"""`CROWD NAME...`: flows to all names at once, one after the other to each, beside eight requests that wait in vain,
until those have been given up twice.
"""
STREAM = """
import sys, time
from ouro_core import OuroError, flow_alloc
flow = flow_alloc(sys.argv[1], timeout=20)
print("allocated", flush=True)
try:
    while True:
        flow.write(b"old " * 16)
        time.sleep(0.0005)
except OuroError as e:
    print("ended", type(e).__name__, flush=True)
"""
"""`STREAM NAME`: packets until the flow ends."""


@frozen
class Pair:
    """`client` knows where the names of `server` are."""

    type: str
    client: Host
    server: Host

    def make(self, host: Host) -> None:
        """The IPCP of a host, and, at the server, a name in the layer."""
        number = int(host is self.server)
        options = ["dev", "v0"]
        if self.type in ADDRESSES:
            own, peer = ADDRESSES[self.type][number], ADDRESSES[self.type][1 - number]
            options = ["ip", own, "peers", peer]
        host.ouro("ipcp", "bootstrap", "type", self.type, "name", "e", "layer", "lay", *options)

    def serve(self, *names: str, program: str = ECHO) -> None:
        served = self.server.python(program, *names)
        assert served.stdout is not None
        assert served.stdout.readline() == "ready\n"
        [info] = self.server.call(ListIpcps()).ipcps
        for name in names:
            self.server.call(RegName(name, info.id))

    def pid(self, host: Host) -> int:
        [info] = host.call(ListIpcps()).ipcps
        return info.pid


@pytest.fixture(params=TYPES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with Namespace() as here, Namespace() as there:
        for network in (here, there):
            network.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0")
        join(here, "v0", there, "v0")
        if request.param in ADDRESSES:
            *addresses, bits = ADDRESSES[request.param]
            for network, address in zip((here, there), addresses, strict=True):
                words = ["nodad"] if request.param == "udp6" else []
                network.ip("addr", "add", f"{address}/{bits}", "dev", "v0", *words)
        made = Pair(request.param, *(Host(config="[irmd]\ndirect = false\n") for _ in range(2)))
        try:
            for network, host in ((here, made.client), (there, made.server)):
                with network.inside():
                    host.start()
                made.make(host)
            yield made
        finally:
            for host in (made.client, made.server):
                host.__exit__(None, None, None)


def test_a_server_that_never_accepts_is_in_nobodys_way(pair: Pair) -> None:
    """Fifty others do (twenty over `eth-llc`). Each has its flows, one after the other, while requests wait for the one
    that sleeps.
    """
    names = [f"awake{n}" for n in range(20 if pair.type == "eth-llc" else 50)]  # it has 62 endpoints
    pair.serve(*names)
    pair.serve("asleep", program=ASLEEP)
    done = pair.client.run([sys.executable, "-c", CROWD, *names], timeout=110)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{pair.client.log.read_text()}"
    assert int(done.stdout) >= len(names)
    for host in (pair.client, pair.server):
        eventually(lambda: host.rib("ipcps/e/endpoints")["in_use"] == 0)  # noqa: B023
    assert pair.server.rib("ipcps/e/management")["waiting"] == 0


@pytest.mark.parametrize("side", ["client", "server"])
def test_kill_9_of_an_ipcp_under_traffic(pair: Pair, side: str) -> None:
    """Its flows go down at once, the host has nothing left of it, another takes its place. The other host's end of the
    flow does not know, and goes on: what it sends is in no new flow.
    """
    pair.serve("echo")
    streams = [pair.client.python(STREAM, "echo") for _ in range(3)]
    for stream in streams:
        assert stream.stdout is not None
        assert stream.stdout.readline() == "allocated\n"
    killed = pair.client if side == "client" else pair.server
    eventually(lambda: pair.server.rib("ipcps/e/frames")["rx"] > 100)
    os.kill(pair.pid(killed), signal.SIGKILL)
    eventually(lambda: not killed.call(ListIpcps()).ipcps)
    assert "ended: killed by signal 9" in killed.log.read_text()
    pair.make(killed)
    if side == "server":
        pair.server.ouro("name", "reg", "echo", "layer", "lay")
    else:
        for stream in streams:
            assert stream.stdout is not None
            assert stream.stdout.readline() == "ended FlowDown\n"
    code = 'from ouro_core import flow_alloc\nf = flow_alloc("echo", timeout=20)\nfor n in range(50):\n'
    code += '    f.write(b"%d" % n)\n    assert f.read() == b"%d" % n, "of another flow"\nf.write(b"bye")\n'
    for _ in range(3):
        done = pair.client.run([sys.executable, "-c", code])
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{pair.client.log.read_text()}"
    for stream in streams:
        end(stream)
    eventually(lambda: pair.client.status().flows == 0)
    assert "Traceback" not in pair.client.log.read_text() + pair.server.log.read_text()
