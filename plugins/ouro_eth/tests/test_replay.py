"""A hostile neighbour who hears everything, and sends it again: the same, in another order, changed, to the last bit
from whom it came.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from ouro_core.api.aio import AsyncFlow
from ouro_core.model.errors import OuroError
from ouro_core.model.qos import DATA, RAW, QosSpec
from ouro_core.testing.netns import Namespace

from .ethernet_layer import NAME, WAIT, Layer, layer


@pytest_asyncio.fixture(params=["eth-dix", "eth-llc"])
async def lay(request: pytest.FixtureRequest, segment: Namespace, tmp_path: Path) -> AsyncIterator[Layer]:
    """Flows are encrypted: what a plain flow takes from who forges its peer's address is nobody's fault."""
    for side in ("client", "server"):
        folder = tmp_path / side / NAME
        folder.mkdir(parents=True)
        (folder / "enc.conf").write_text("kex = X25519\ncipher = aes-256-gcm\n")
    async with layer(request.param, security=tmp_path) as made:
        yield made


async def record(lay: Layer, qos: QosSpec) -> list[bytes]:
    """The frames of a flow's whole life, and of packets both ways."""
    lay.heard()
    client, server = await lay.flow(qos)
    async with client, server:
        for n in range(30):
            await client.write(b"there %d" % n)
            assert await asyncio.wait_for(server.read(), WAIT) == b"there %d" % n
            await server.write(b"back %d" % n)
            assert await asyncio.wait_for(client.read(), WAIT) == b"back %d" % n
        await asyncio.sleep(0.05)
    return lay.heard()


def changed(frame: bytes, rng: Random) -> bytes:
    """Bytes behind the addresses are others; or there are more, or fewer."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(12, len(data))] ^= rng.randint(1, 255)
    if rng.random() < 0.2:
        return bytes(data[: rng.randrange(14, len(data) + 1)])
    return bytes(data) + rng.randbytes(rng.randint(0, 20)) if rng.random() < 0.2 else bytes(data)


async def next_new(end: AsyncFlow, seen: set[bytes]) -> bytes:
    """The next packet that was not read before: a plain copy of one may come again on a raw flow."""
    while (packet := await asyncio.wait_for(end.read(), WAIT)) in seen:
        pass
    seen.add(packet)
    return packet


@pytest.mark.parametrize("share", [0.0, 0.7], ids=["same", "changed"])
@pytest.mark.parametrize("qos", [RAW, DATA], ids=["raw", "data"])
async def test_what_was_heard_is_sent_again(
    lay: Layer, qos: QosSpec, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    """While a flow goes on, of which the neighbour hears everything as well. No application reads what its peer did not
    write. A request that comes again opens no flow; one that was changed is a request of the neighbour's own.
    """
    rng = Random(11)
    frames = await record(lay, qos)
    assert len(frames) > 60
    client, server = await lay.flow(qos)
    others: list[AsyncFlow] = []
    accepting = asyncio.ensure_future(accept(lay, others))
    seen: set[bytes] = set()
    async with client, server:
        for n in range(60):
            frames += lay.heard()
            for frame in rng.sample(frames, 20):
                lay.send(changed(frame, rng) if rng.random() < share else frame)
            await client.write(b"true %d" % n)
            assert await next_new(server, seen) == b"true %d" % n
            await server.write(b"answer %d" % n)
            assert await next_new(client, seen) == b"answer %d" % n
    accepting.cancel()
    for flow in others:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.read(), 0.01)
        await flow.close()
    if not share:
        assert not others
        assert await lay.count(lay.server, "management/duplicates") > 0
    await lay.works()
    assert "Traceback" not in caplog.text


async def accept(lay: Layer, flows: list[AsyncFlow]) -> None:
    while True:
        with contextlib.suppress(OuroError):
            flows.append(await lay.server.flow_accept())
