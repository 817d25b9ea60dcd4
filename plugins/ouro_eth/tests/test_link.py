"""Devices that go down, come up, change or vanish under a layer."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ouro_eth import io
from ouro_eth.device import Devices
from ouro_eth.io import open_socket

from ouro_core import Node
from ouro_core.api.aio import AsyncFlow
from ouro_core.contracts.packets import State
from ouro_core.model.errors import ConfigError, FlowDown, IpcpError, NotPermitted, NotSupported, OuroError, UnknownName
from ouro_core.testing.netns import Namespace, join, queue

from .ethernet_layer import NAME, WAIT, Layer, eventually, layer


@pytest_asyncio.fixture(params=["eth-dix", "eth-llc"])
async def lay(request: pytest.FixtureRequest, segment: Namespace) -> AsyncIterator[Layer]:
    async with layer(request.param) as made:
        yield made


async def test_flows_go_down_and_up_with_the_link(
    lay: Layer, segment: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client, server = await lay.flow()
    async with client, server:
        async with down(lay, segment, "v0", client):
            pass
        await carried(client, server)
    assert changes(caplog) == ["Interface down.", "Interface up."]
    await lay.works()


async def test_flows_go_down_and_up_with_the_carrier(
    lay: Layer, segment: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """The cable of the client is pulled at its far end: its device stays switched on, the server's hears nothing."""
    caplog.set_level(logging.INFO)
    client, server = await lay.flow()
    async with client, server:
        async with down(lay, segment, "v0.p", client):
            medium = await lay.rib(lay.client, "medium")
            assert (medium["up"], medium["carrier"]) == (True, False)
            assert server.state is State.UP
        await carried(client, server)
    assert changes(caplog) == ["Device v0 has no carrier any more.", "Interface down.", "Interface up."]
    await lay.works()


async def test_a_device_that_gets_another_name(
    lay: Layer, segment: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the same device: its flows go on, and there are new ones."""
    caplog.set_level(logging.INFO)
    client, server = await lay.flow()
    async with client, server:
        async with down(lay, segment, "v0", client, back="second"):
            segment.ip("link", "set", "v0", "name", "second")
        await carried(client, server)
        assert changes(caplog) == ["Interface down.", "Device v0 is called second now.", "Interface up."]
        caplog.clear()
        with contextlib.suppress(RuntimeError):  # kernels before 6.2: only of a device that is down
            segment.ip("link", "set", "second", "name", "third")
            await eventually(lambda: changes(caplog) == ["Device second is called third now."])
            assert (await lay.rib(lay.client, "medium"))["device"] == "third"
        await carried(client, server)
    await lay.works()


@contextlib.asynccontextmanager
async def down(lay: Layer, segment: Namespace, device: str, client: AsyncFlow, back: str = "") -> AsyncIterator[None]:
    """A device is switched off, and with it goes the link of the client; on again, under the name `back`, it is up."""
    segment.ip("link", "set", device, "down")
    with pytest.raises(FlowDown):
        await asyncio.wait_for(client.read(), WAIT)
    with pytest.raises(FlowDown):
        await client.write(b"into the void")
    assert not (await lay.rib(lay.client, "link"))["up"]
    with pytest.raises(FlowDown, match="link below this layer is down"):
        await lay.client.flow_alloc(NAME, timeout=1.0)
    yield
    segment.ip("link", "set", back or device, "up")
    await eventually(lambda: client.state is State.UP)


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of the link and the device."""
    said = [record.getMessage() for record in caplog.records]
    return [text for text in said if text.startswith(("Interface", "Device "))]


async def carried(client: AsyncFlow, server: AsyncFlow) -> None:
    """A packet gets there again; a bridge takes its time."""

    async def once() -> bool:
        await client.write(b"again")
        try:
            return await asyncio.wait_for(server.read(), 0.5) == b"again"
        except TimeoutError:
            return False

    await eventually(once)


@pytest.mark.parametrize(("off", "said"), [("v0", "v0 is down"), ("v1", "v0 has no carrier")])
async def test_an_ipcp_on_a_device_that_is_down(
    private: Namespace, caplog: pytest.LogCaptureFixture, off: str, said: str
) -> None:
    """It waits for it: at the start of a machine this is the order. Or the cable comes later."""
    private.ip("link", "set", off, "down")
    await eventually(lambda: not Devices().read("v0").carrier)
    async with Node(direct=False) as a, Node(direct=False) as b:
        for node, device in ((a, "v0"), (b, "v1")):
            await node.irm.create_ipcp("e", "eth-dix")
            await node.irm.bootstrap_ipcp("e", "layer", {"dev": device})
        await b.irm.reg_name(NAME, "e")
        await b.bind(NAME)
        with pytest.raises((UnknownName, IpcpError)):
            await a.flow_alloc(NAME, timeout=1.0)
        assert said in caplog.text
        private.ip("link", "set", off, "up")

        async def found() -> bool:
            accepting = asyncio.ensure_future(b.flow_accept())
            try:
                async with await a.flow_alloc(NAME, timeout=5.0), await accepting:
                    return True
            except OuroError:
                accepting.cancel()
                return False

        await eventually(found)


async def test_a_device_that_vanishes_takes_its_ipcp_along(lay: Layer, segment: Namespace) -> None:
    client, server = await lay.flow()
    async with client, server:
        segment.ip("link", "del", "v0")
        with pytest.raises(FlowDown):
            await asyncio.wait_for(client.read(), WAIT)

        async def gone() -> bool:
            return not await lay.client.irm.list_ipcps()

        await eventually(gone)
    join(segment, "v0", segment, "v0.p")
    segment.ip("link", "set", "v0.p", "master", "hub")
    await lay.client.irm.create_ipcp("e", lay.type)
    await lay.client.irm.bootstrap_ipcp("e", "layer", {"dev": "v0"})
    await lay.works()


async def test_another_mac_ends_the_ipcp_too(lay: Layer, segment: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    """Peers know the old one, and flows have it in their frames."""
    segment.ip("link", "set", "v1", "address", "02:00:00:00:00:99")

    async def gone() -> bool:
        return not await lay.server.irm.list_ipcps()

    await eventually(gone)
    assert "02:00:00:00:00:99" in caplog.text


@pytest.mark.parametrize("mtu", ["1000", "9000"])
async def test_another_mtu_under_traffic(
    lay: Layer, segment: Namespace, caplog: pytest.LogCaptureFixture, mtu: str
) -> None:
    caplog.set_level(logging.INFO)
    client, server = await lay.flow()
    async with client, server:
        stopped = asyncio.Event()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while not stopped.is_set():
                await client.write(b"%d" % sent)
                sent += 1
                await asyncio.sleep(0.001)

        sending = asyncio.ensure_future(send())
        segment.ip("link", "set", "v0", "mtu", mtu)
        await eventually(lambda: "MTU of v0" in caplog.text)
        await asyncio.sleep(0.1)
        stopped.set()
        await sending
        got = [await asyncio.wait_for(server.read(), WAIT) for _ in range(sent)]
        assert got == [b"%d" % i for i in range(sent)]
        view = await lay.rib(lay.client, "medium")
        assert (view["mtu"], view["device_mtu"]) == (1500, int(mtu))
        await client.write(bytes(1490))
        await client.write(b"after it")
        if mtu == "1000":
            assert await asyncio.wait_for(server.read(), WAIT) == b"after it"
            assert await lay.count(lay.client, "frames/tx_error") == 1
            await eventually(lambda: "are dropped, for they cannot be sent: Message too long" in caplog.text)
        else:
            assert len(await asyncio.wait_for(server.read(), WAIT)) == 1490
            assert "dropped" not in caplog.text


async def test_long_messages_after_the_mtu_became_less(lay: Layer, segment: Namespace) -> None:
    """Of a request, and of a reply: they go in fragments that fit. Of a peer that has none it would be an error."""
    for device, node in (("v0", lay.client), ("v1", lay.server)):
        segment.ip("link", "set", device, "mtu", "600")

        async def seen(node: Node = node) -> bool:
            return bool(await lay.rib(node, "medium/device_mtu") == 600)

        await eventually(seen)
    accepting = asyncio.ensure_future(lay.server.flow_accept(data=b"r" * 1300))
    client = await lay.client.flow_alloc(NAME, timeout=WAIT, data=b"q" * 1300)
    async with client, await asyncio.wait_for(accepting, WAIT) as server:
        assert (client.data, server.data) == (b"r" * 1300, b"q" * 1300)
    for node in (lay.client, lay.server):
        assert await lay.count(node, "carrier/messages_received") == 1
        assert await lay.count(node, "management/not_sent") == 0


async def test_packets_that_no_frame_takes_are_counted(lay: Layer) -> None:
    most = (await lay.rib(lay.client, "medium"))["largest_packet"]
    assert most == (1496 if lay.type == "eth-dix" else 1497)
    client, server = await lay.flow()
    async with client, server:
        await client.write(bytes(most + 1))
        await client.write(bytes(most))
        assert len(await asyncio.wait_for(server.read(), WAIT)) == most
        assert await lay.count(lay.client, "frames/too_long") == 1


@pytest.mark.parametrize("type_name", ["eth-dix", "eth-llc"])
async def test_a_device_that_is_slower_than_its_sender(private: Namespace, type_name: str) -> None:
    """20 Mbit/s and a queue of five packets: the sender is slowed, nothing is lost, and management gets through."""
    lacking = queue(private, "v0", "tbf", "rate", "20mbit", "burst", "3000", "limit", "7500")
    if lacking is not None:
        pytest.skip(lacking)
    async with layer(type_name, neighbour="v1") as lay:
        client, server = await lay.flow()
        async with client, server:

            async def send() -> None:
                for n in range(1000):
                    await client.write(b"%4d" % n + bytes(1396))

            sending = asyncio.ensure_future(send())
            for n in range(1000):
                assert (await asyncio.wait_for(server.read(), WAIT))[:4] == b"%4d" % n
                if n == 500:
                    await lay.works()
            await sending
            assert await lay.count(lay.client, "frames/tx_no_buffer") > 0
            assert await lay.count(lay.client, "frames/tx_error") == 0
            assert await lay.count(lay.client, "management/not_sent") == 0


@pytest.mark.parametrize("type_name", ["eth-dix", "eth-llc"])
async def test_devices_that_cannot_be(private: Namespace, type_name: str) -> None:
    private.ip("link", "add", "tiny", "type", "veth", "peer", "name", "tiny1")
    private.ip("link", "set", "tiny", "mtu", "70")
    async with Node(direct=False) as node:
        await node.irm.create_ipcp("e", type_name)
        for device, why in (("no-such-dev", "no device"), ("x" * 40, "invalid device name"), ("tiny", "too small")):
            with pytest.raises(ConfigError, match=why):
                await node.irm.bootstrap_ipcp("e", "layer", {"dev": device})
        with pytest.raises(ConfigError, match="device"):
            await node.irm.bootstrap_ipcp("e", "layer", {})
        await node.irm.bootstrap_ipcp("e", "layer", {"dev": "lo"})


@pytest.mark.parametrize("ethertype", ["05ff", "ffff", "10000", "xyz", "-1", ""])
async def test_ethertypes_that_cannot_be(private: Namespace, ethertype: str) -> None:
    async with Node(direct=False) as node:
        await node.irm.create_ipcp("e", "eth-dix")
        with pytest.raises(ConfigError, match="ethertype"):
            await node.irm.bootstrap_ipcp("e", "layer", {"dev": "v0", "ethertype": ethertype})


async def test_layers_of_different_ethertypes_do_not_meet(private: Namespace) -> None:
    async with Node(direct=False) as a, Node(direct=False) as b:
        for node, device, ethertype in ((a, "v0", "a000"), (b, "v1", "a001")):
            await node.irm.create_ipcp("e", "eth-dix")
            await node.irm.bootstrap_ipcp("e", "layer", {"dev": device, "ethertype": ethertype})
        await b.irm.reg_name(NAME, "e")
        await b.bind(NAME)
        with pytest.raises((UnknownName, IpcpError)):
            await a.flow_alloc(NAME, timeout=1.0)
        await a.irm.create_ipcp("second", "eth-dix")
        await a.irm.bootstrap_ipcp("second", "layer2", {"dev": "v0", "ethertype": "0xA001"})
        accepting = asyncio.ensure_future(b.flow_accept())
        async with await a.flow_alloc(NAME, timeout=WAIT), await asyncio.wait_for(accepting, WAIT):
            pass


# ---------------------------------------------------------------- rights and systems

OPEN = "from ouro_eth.io import open_socket; open_socket('lo', 0xA000).close(); print('opened')"


def as_user(*capabilities: str) -> "subprocess.CompletedProcess[str]":
    """Open a socket in a process of an ordinary user. Root becomes one first."""
    command = [sys.executable, "-c", OPEN]
    if os.geteuid() == 0:
        drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
        command = ["setpriv", *drop, *capabilities, "--", *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")


def test_an_ordinary_user_is_told_what_is_missing() -> None:
    done = as_user()
    assert "NotPermitted" in done.stderr
    assert "CAP_NET_RAW" in done.stderr
    assert "setpriv" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a capability away")
def test_one_capability_is_enough() -> None:
    done = as_user("--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw", "--bounding-set", "-all,+net_raw")
    assert done.stdout == "opened\n", done.stderr


def test_elsewhere_it_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io.sys, "platform", "darwin")  # type: ignore[attr-defined]
    with pytest.raises(NotSupported, match="needs Linux"):
        open_socket("en0", 0xA000)


def test_no_capability_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(io.socket, "socket", refuse)  # type: ignore[attr-defined]
    with pytest.raises(NotPermitted, match="CAP_NET_RAW"):
        open_socket("v0", 0xA000)
