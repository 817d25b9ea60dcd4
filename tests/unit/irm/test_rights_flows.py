"""What a process may ask of its own flows and of other people's, what an IPCP may, and who waits how long."""

import asyncio
import math
from typing import Any

import pytest

from ouro_core.irm.sessions import IpcpSession
from ouro_core.irm.settings import MAX_ACCEPTS_PER_PROCESS, MAX_DATA
from ouro_core.model import irm_requests as r
from ouro_core.model.errors import (
    Exists,
    FlowTimeout,
    InvalidArgument,
    IpcpError,
    IpcpTypeError,
    NotAllocated,
    NotFound,
    NotPermitted,
    OuroError,
    OutOfMemory,
    TooLong,
    UnknownName,
)
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import NameInfo

ALICE, MEMBER = 1000, 1002

# ---------------------------------------------------------------- flows


async def test_a_flow_belongs_to_its_process(host: Any) -> None:
    server, client, stranger = await host.alice.announce(), await host.root.announce(), await host.bob.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept(data=b"welcome")
    allocation = await client.alloc("n", data=b"hello")
    accepted = await waiting
    assert (allocation.data, accepted.data) == (b"welcome", b"hello")
    assert (allocation.direct, accepted.direct, accepted.name) == (True, True, "n")
    for app, number in (
        (stranger, allocation.flow_id),
        (stranger, accepted.flow_id),
        (client, accepted.flow_id),
        (server, allocation.flow_id),
        (client, 9999),
        (client, 0),
    ):
        with pytest.raises(NotAllocated, match=f"process {app.pid} has no flow {number}"):
            await app.dealloc(number)
    assert len((await host.root.call(r.ListFlows())).flows) == 2
    await client.dealloc(allocation.flow_id)
    await server.dealloc(accepted.flow_id)
    with pytest.raises(NotAllocated):
        await server.dealloc(accepted.flow_id)
    assert len(host.registry.flows) == 0


@pytest.mark.parametrize("seconds", [math.nan, -1.0, -math.inf])
async def test_times_that_are_none(host: Any, seconds: float) -> None:
    app = await host.root.announce()
    for request_ in (r.FlowAlloc("n", timeout=seconds), r.FlowAccept(seconds), r.FlowJoin("l", seconds)):
        with pytest.raises(InvalidArgument, match="a timeout of"):
            await app.call(request_)
    with pytest.raises(InvalidArgument, match="a linger time of"):
        await app.call(r.FlowDealloc(1, seconds))
    for linger in (3601.0, math.inf):
        with pytest.raises(InvalidArgument, match="0 to 3600 is right"):
            await app.call(r.FlowDealloc(1, linger))


async def test_times_at_the_edges(host: Any) -> None:
    app = await host.root.announce()
    with pytest.raises(FlowTimeout):
        await app.call(r.FlowAccept(0.0))
    for_ever = app.accept(timeout=math.inf)
    await asyncio.sleep(0.01)
    assert not for_ever.done()
    for_ever.cancel()
    with pytest.raises(UnknownName):
        await app.call(r.FlowAlloc("nobody", timeout=math.inf))


async def test_too_much_data(host: Any) -> None:
    app = await host.alice.announce()
    await app.call(r.BindProcess(app.pid, "n"))
    for request_ in (r.FlowAlloc("n", data=b"x" * (MAX_DATA + 1)), r.FlowAccept(data=b"x" * (MAX_DATA + 1))):
        with pytest.raises(TooLong, match=f"at most {MAX_DATA} go along"):
            await app.call(request_)
    accepted = app.accept(data=b"x" * MAX_DATA)
    client = await host.root.announce()
    allocation = await client.alloc("n", data=b"y" * MAX_DATA)
    assert (len(allocation.data), len((await accepted).data)) == (MAX_DATA, MAX_DATA)


async def test_a_processs_share_of_accept_calls(host: Any) -> None:
    app, other = await host.alice.announce(), await host.alice.announce()
    calls = [app.accept() for _ in range(MAX_ACCEPTS_PER_PROCESS)]
    await asyncio.sleep(0)
    with pytest.raises(OutOfMemory, match=f"process {app.pid} has {MAX_ACCEPTS_PER_PROCESS} accept calls under way"):
        await app.call(r.FlowAccept())
    with pytest.raises(FlowTimeout):
        await other.call(r.FlowAccept(0.0))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert not host.registry.process(app.pid).waiters


async def test_flows_between_users_need_a_layer(host: Any) -> None:
    """Two ordinary users share no pool."""
    server, client = await host.alice.announce(), await host.bob.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept()
    with pytest.raises(IpcpError, match=r"accepts flows .* no layer to ask"):
        await client.alloc("n")
    root = await host.root.announce()
    allocation = await root.alloc("n")
    assert (await waiting).flow_id != allocation.flow_id


async def test_an_answer_that_is_not_delivered(host: Any) -> None:
    server, client = await host.alice.announce(), await host.root.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept()
    allocation = await client.alloc("n")
    accepted = await waiting
    server.session.undelivered(accepted)
    client.session.undelivered(allocation)
    server.session.undelivered(accepted)  # gone already
    host.alice.session.undelivered(allocation)  # nobody
    client.session.undelivered(r.RibText("{}"))
    assert not host.registry.flows


# ---------------------------------------------------------------- IPCPs


async def test_unknown_ids_are_errors(host: Any) -> None:
    for request_ in (
        r.DestroyIpcp(77),
        r.BootstrapIpcp(77, LayerInfo("l")),
        r.EnrollIpcp(77, "dst"),
        r.ConnectIpcp(77, "dst", "Management"),
        r.DisconnectIpcp(77, "dst", "Management"),
        r.AskIpcp(77, "directory", ("lookup", "n")),
        r.BindIpcp(77, "n"),
        r.UnbindIpcp(77, "n"),
        r.RegName("n", 77),
        r.UnregName("n", 77),
    ):
        with pytest.raises(NotFound, match="there is no IPCP with id 77; see: ouro ipcp list"):
            await host.root.call(request_)
    assert host.registry.names == {}
    with pytest.raises(IpcpTypeError, match="known: local"):
        await host.root.call(r.CreateIpcp("lokal", "i"))
    with pytest.raises(NotFound):
        await host.root.call(r.RibRead("nothing"))


async def test_administration_of_a_layer(host: Any) -> None:
    """What an administrator does, and two users on the layer he made."""
    admin = host.app(MEMBER)
    ipcp = (await admin.call(r.CreateIpcp("local", "lo"))).id
    with pytest.raises(IpcpError, match="in no layer yet"):
        await admin.call(r.RegName("n", ipcp))
    assert host.registry.names == {}
    await admin.call(r.BootstrapIpcp(ipcp, LayerInfo("net")))
    server, client = await host.alice.announce(), await host.bob.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    await admin.call(r.RegName("n", ipcp))
    assert host.registry.name("n").info.owner == ALICE
    waiting = server.accept()
    allocation = await client.alloc("n", data=b"hello")
    accepted = await waiting
    assert (accepted.data, accepted.direct) == (b"hello", False)
    assert [i.layer_name for i in (await host.bob.call(r.ListIpcps())).ipcps] == ["net"]
    await client.dealloc(allocation.flow_id)
    await server.dealloc(accepted.flow_id)
    await admin.call(r.UnregName("n", ipcp))
    await admin.call(r.BindIpcp(ipcp, "n"))
    with pytest.raises(Exists):
        await admin.call(r.BindIpcp(ipcp, "n"))
    await admin.call(r.UnbindIpcp(ipcp))
    await admin.call(r.DestroyIpcp(ipcp))
    with pytest.raises(NotFound):
        await admin.call(r.DestroyIpcp(ipcp))


@pytest.mark.parametrize(
    "request_",
    [r.CreateName(NameInfo("n")), r.ListNames(), r.ListFlows(), r.Announce("p"), r.DestroyIpcp(1), r.RibRead()],
    ids=lambda q: type(q).__name__,
)
async def test_ipcps_do_not_administer(host: Any, request_: Any) -> None:
    await host.root.call(r.CreateIpcp("local", "lo"))
    (record,) = host.registry.ipcps.values()
    with pytest.raises(NotPermitted, match=f"{type(request_).__name__} is not for IPCPs"):
        IpcpSession(host.irm, record).call(request_)


async def test_ipcps_keep_to_their_own_flows(host: Any) -> None:
    await host.root.call(r.CreateIpcp("local", "lo"))
    (record,) = host.registry.ipcps.values()
    server, client = await host.alice.announce(), await host.root.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept()
    allocation = await client.alloc("n")
    accepted = await waiting
    session = IpcpSession(host.irm, record)
    with pytest.raises(NotAllocated):
        session.call(r.FlowDealloc(allocation.flow_id))
    session.call(r.FlowClosed(allocation.flow_id))  # not its: ignored
    session.call(r.FlowClosed(9999))
    with pytest.raises(InvalidArgument, match="a timeout of"):
        session.call(r.FlowAccept(math.nan))
    with pytest.raises(InvalidArgument, match="a linger time of"):
        session.call(r.FlowDealloc(1, math.nan))
    assert len(host.registry.flows) == 2
    await client.dealloc(allocation.flow_id)
    await server.dealloc(accepted.flow_id)


# ---------------------------------------------------------------- waiting (the cases of irmd.md 6 that take time)


async def test_an_accept_call_ends_in_time(host: Any) -> None:
    app = await host.alice.announce()
    await app.call(r.BindProcess(app.pid, "n"))
    with pytest.raises(FlowTimeout, match=r"no flow request came within 0\.001 s") as raised:
        await app.call(r.FlowAccept(0.001))
    assert raised.value.code == -110
    assert not host.registry.flows
    assert not host.registry.name("n").queue


async def test_an_allocation_waits_for_somebody_to_accept(host: Any) -> None:
    server, client = await host.alice.announce(), await host.root.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    with pytest.raises(FlowTimeout, match='no process accepted a flow for "n" in time'):
        await client.alloc("n")
    allocating = client.alloc("n")
    while not host.registry.name("n").waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    accepted = server.accept()
    assert (await allocating).flow_id == 2
    assert (await accepted).flow_id == 1


async def test_an_allocation_to_an_unknown_name(host: Any) -> None:
    client = await host.root.announce()
    with pytest.raises(UnknownName, match='has the name "n"') as raised:
        await client.alloc("n")
    assert raised.value.code == -1007


async def test_joining_an_unknown_layer(host: Any) -> None:
    client = await host.root.announce()
    with pytest.raises(IpcpError, match=r'in a broadcast layer "nowhere"; see: ouro ipcp list'):
        await client.call(r.FlowJoin("nowhere"))


async def test_a_process_that_leaves_takes_its_flows_along(host: Any) -> None:
    server, client = await host.alice.announce(), await host.root.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept()
    await client.alloc("n")
    await waiting
    again = server.accept()
    await asyncio.sleep(0)
    host.irm.process_left(host.registry.process(server.pid))
    with pytest.raises((OuroError, asyncio.CancelledError)):
        await again
    assert len(host.registry.flows) == 1  # the client has to give up its own
    assert host.registry.name("n").processes == set()
    host.irm.process_died(host.registry.process(client.pid))
    assert not host.registry.flows


async def test_an_allocation_of_a_process_that_left_comes_to_nothing(host: Any) -> None:
    """It was waiting for somebody to accept, and its connection outlived the process."""
    server, client = await host.alice.announce(), await host.root.announce()
    await server.call(r.BindProcess(server.pid, "n"))
    allocating = client.alloc("n")
    while not host.registry.name("n").waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    host.irm.process_left(host.registry.process(client.pid))
    accepted = server.accept()
    with pytest.raises(InvalidArgument, match="is not here, or not any more"):
        await allocating
    with pytest.raises(OuroError):
        await accepted
    assert not host.registry.flows


async def test_a_users_share_of_clients(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that announces again is one client more, until it ends."""
    monkeypatch.setattr("ouro_core.irm.irm.MAX_CLIENTS_PER_USER", 3)
    app = await host.alice.announce()
    process = host.registry.process(app.pid)
    for _ in range(2):
        await app.announce()
    with pytest.raises(OutOfMemory, match="user 1000 are 3 clients already"):
        await host.alice.announce()
    await host.bob.announce()
    await host.root.announce()
    host.irm.process_died(process)
    await host.alice.announce()


async def test_a_users_share_of_accept_calls(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ouro_core.irm.registry.MAX_ACCEPTS_PER_USER", 2)
    one, two, bob, root = [await app.announce() for app in (host.alice, host.alice, host.bob, host.root)]
    calls = [one.accept(), two.accept(), bob.accept(), root.accept(), root.accept(), root.accept()]
    await asyncio.sleep(0)
    with pytest.raises(OutOfMemory, match="user 1000 has 2 accept calls"):
        await one.call(r.FlowAccept())
    calls[1].cancel()
    await asyncio.wait(calls[1:2])
    with pytest.raises(FlowTimeout):
        await one.call(r.FlowAccept(0.0))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_processs_share_of_names(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ouro_core.irm.registry.MAX_NAMES_PER_PROCESS", 2)
    app, root = await host.alice.announce(), await host.root.announce()
    for name in "abc":
        await app.call(r.CreateName(NameInfo(name)))
        await root.call(r.BindProcess(root.pid, name))
    for name in "ab":
        await app.call(r.BindProcess(app.pid, name))
    with pytest.raises(OutOfMemory, match="bound to 2 names already; unbind one"):
        await app.call(r.BindProcess(app.pid, "c"))
    await app.call(r.UnbindProcess(app.pid, "a"))
    await app.call(r.BindProcess(app.pid, "c"))
