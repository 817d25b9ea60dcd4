"""Cryptography in workers: who waits for it and who does not, what it may cost, and floods of it."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ouro_core.irm import allocation, workers
from ouro_core.model.errors import (
    AuthenticationFailed,
    CryptError,
    FlowTimeout,
    IpcpError,
    OuroError,
    OutOfMemory,
)
from ouro_core.model.irm_requests import (
    Allocation,
    Arrival,
    BindProcess,
    CreateName,
    RegName,
)
from ouro_core.model.names import NameInfo
from ouro_core.oap import Encryption, Prepare, Security
from ouro_core.rpc.fds import close_grants
from tests.unit.irm.network import GCM, WAIT, Maker, Network, until


@pytest.fixture
async def served(make_network: Maker) -> Network:
    """Over a layer, with workers, and one of them at work already."""
    network = await make_network(layer=True, processes=True)
    network.write("server/srv/enc.conf", "kex=X448")
    network.write("client/srv/enc.conf", "kex=X448")
    await network.encrypted()
    assert network.host.irm.workers.view().workers >= 1
    return network


def stop(network: Network) -> None:
    """The workers do not get on any more."""
    for handle in network.launcher.started:
        os.kill(handle.pid, signal.SIGSTOP)


def go_on(network: Network) -> None:
    for handle in network.launcher.started:
        os.kill(handle.pid, signal.SIGCONT)


async def at_work(network: Network) -> None:
    await until(lambda: network.host.irm.workers.view().busy)


@pytest.mark.parametrize("layer", [False, True])
async def test_flows_with_workers(make_network: Maker, layer: bool) -> None:
    network = await make_network(layer, processes=True)
    await network.plain()
    assert network.host.irm.workers.view().workers == 0
    network.write("server/srv/enc.conf", "auth=required")
    network.write("client/srv/enc.conf", "")
    network.credentials("server", "srv")
    ours, _ = await network.flow()
    assert isinstance(ours, AuthenticationFailed)
    network.credentials("client", "alice")
    await network.encrypted()
    view = network.host.irm.workers.view()
    assert view.workers >= 1
    assert (view.busy, view.waiting, view.refused, view.overdue, view.died) == (0, 0, 0, 0, 0)


async def test_quick_key_exchanges_wait_for_no_worker(make_network: Maker) -> None:
    network = await make_network(layer=True, processes=True)
    for kex in ("X25519", "prime256v1"):
        for side in ("server", "client"):
            network.write(f"{side}/srv/enc.conf", f"kex={kex}")
        await network.encrypted()
    assert network.launcher.started == []


async def test_plain_requests_wait_for_no_worker(make_network: Maker) -> None:
    network = await make_network(layer=True, processes=True)
    accepted = network.server.accept(timeout=WAIT)
    close_grants(await network.arrive(network.request()))
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    network.write("server/srv/enc.conf", "")
    with pytest.raises(CryptError):
        await network.arrive(network.request())
    with pytest.raises(CryptError):
        await accepted
    assert network.launcher.started == []


async def test_a_requester_that_gives_up_leaves_the_acceptor_waiting(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    assert not served.host.registry.names["srv"].queue
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert len(served.host.registry.names["srv"].queue) == 1
    go_on(served)
    close_grants(await served.arrive(served.request(Security(Encryption(kex="X448")))))
    allocation = await accepted
    assert allocation.cipher == GCM
    await served.server.dealloc(allocation.flow_id)


async def test_an_acceptor_that_gives_up_is_an_error_for_the_requester(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    accepted.cancel()
    await asyncio.gather(accepted, return_exceptions=True)
    go_on(served)
    with pytest.raises(IpcpError, match="gave up, or went away"):
        await request
    assert served.host.irm.status().flows == 0
    await served.encrypted()


async def test_an_accept_call_waits_for_the_request_that_came_in_time(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=0.1)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    await asyncio.sleep(0.2)
    go_on(served)
    close_grants(await request)
    await served.server.dealloc((await accepted).flow_id)


async def test_but_not_for_ever_nor_for_the_next_one(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "LATE", 0.2)
    for give_up in (False, True):
        stop(served)
        accepted = served.server.accept(timeout=0.1)
        request = served.arrive(served.request(Security(Encryption(kex="X448"))))
        await at_work(served)
        if give_up:
            await asyncio.sleep(0.15)
            request.cancel()
        with pytest.raises(FlowTimeout):
            await accepted
        go_on(served)
        await asyncio.gather(request, return_exceptions=True)
    await served.encrypted()


async def test_a_worker_that_dies_costs_one_allocation(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    for handle in served.launcher.started:
        handle.kill()
    with pytest.raises(IpcpError, match="the worker that did the cryptography of this allocation ended"):
        await request
    with pytest.raises(IpcpError):
        await accepted
    await until(lambda: served.host.irm.workers.view().died)
    await served.encrypted()


async def test_a_worker_that_hangs_is_killed(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.3)
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    with pytest.raises((FlowTimeout, IpcpError)):
        await served.arrive(served.request(Security(Encryption(kex="X448"))))
    with pytest.raises((FlowTimeout, IpcpError)):
        await accepted
    await until(lambda: served.host.irm.workers.view().died)
    monkeypatch.setattr(workers, "PATIENCE", WAIT)
    await served.encrypted()


class Endless:
    """A job that keeps a processor busy from where the worker reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("while True: pass",)

    def slow(self, suites: object) -> bool:
        return True


async def test_a_worker_that_uses_too_much_processor_time_is_killed(
    served: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PROCESSOR", 0.3)
    monkeypatch.setattr(workers, "PATIENCE", 10 * WAIT)
    pool = served.host.irm.workers
    endless: Any = Endless()
    async with asyncio.timeout(WAIT):
        with pytest.raises(FlowTimeout, match=r"0\.3 s of processor time"):
            await pool.run("peer", endless)
    await until(lambda: pool.view().died)
    assert pool.view().overdue == 1
    monkeypatch.setattr(workers, "PROCESSOR", WAIT)
    await served.encrypted()


async def test_a_worker_that_gets_no_processor_is_waited_for(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives way to all others: what it is late through is not its fault."""
    monkeypatch.setattr(workers, "PROCESSOR", 0.3)
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    await asyncio.sleep(1.0)
    go_on(served)
    close_grants(await request)
    await served.server.dealloc((await accepted).flow_id)
    view = served.host.irm.workers.view()
    assert (view.died, view.overdue) == (0, 0)


async def test_a_peer_has_so_many_jobs_and_the_others_theirs(served: Network) -> None:
    stop(served)
    accepts = [served.server.accept(timeout=WAIT) for _ in range(workers.MAX_JOBS_PER_PEER + 20)]
    requests = [served.arrive(served.request(Security(Encryption(kex="X448")))) for _ in accepts]
    view = served.host.irm.workers.view
    await until(lambda: view().refused)
    assert view().waiting <= workers.MAX_JOBS_PER_PEER
    go_on(served)
    found = await asyncio.gather(*requests, return_exceptions=True)
    theirs = await asyncio.gather(*accepts, return_exceptions=True)
    refused = [error for error in found if isinstance(error, OutOfMemory)]
    assert refused
    assert len(refused) == sum(isinstance(error, OutOfMemory) for error in theirs)
    for arrival in found:
        if isinstance(arrival, Arrival):
            close_grants(arrival)
    for allocation_ in theirs:
        if isinstance(allocation_, Allocation):
            await served.server.dealloc(allocation_.flow_id)
    await served.encrypted()


async def test_a_flood_at_many_names_leaves_room_for_whoever_asks_little(served: Network) -> None:
    stop(served)
    pool = served.host.irm.workers
    job = Prepare("srv", b"", time.time_ns(), Security(Encryption(kex="X448")))
    peers = workers.MAX_JOBS // workers.MAX_JOBS_PER_PEER + 1
    flood = [
        asyncio.ensure_future(pool.run((1, f"name{peer}"), job))
        for peer in range(peers)
        for _ in range(workers.MAX_JOBS_PER_PEER)
    ]
    await until(lambda: pool.view().refused)
    refused = pool.view().refused
    local = asyncio.ensure_future(pool.run(("user", 1000), job))
    await until(lambda: pool.view().refused > refused)
    assert workers.MAX_JOBS - 4 <= pool.view().waiting <= workers.MAX_JOBS  # a worker that came late has one
    assert not local.done()
    go_on(served)
    await local
    errors = [e for e in await asyncio.gather(*flood, return_exceptions=True) if isinstance(e, BaseException)]
    assert errors
    assert all(isinstance(e, OutOfMemory) for e in errors)


async def test_workers_are_programs_where_there_is_no_zygote(
    make_network: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", WAIT)
    network = await make_network(layer=True, processes=True)
    launcher = network.launcher.zygote
    launcher._zygote.end()
    launcher._zygote = None
    network.write("client/srv/enc.conf", "kex=X448")
    await network.encrypted()
    command = await asyncio.to_thread(Path(f"/proc/{network.launcher.started[0].pid}/cmdline").read_bytes)
    assert b"ouro_core.ipcp.worker" in command


async def test_one_peer_never_has_all_workers(served: Network) -> None:
    root = served.host.root
    other = await root.announce("other")
    await other.call(CreateName(NameInfo("other")))
    await other.call(BindProcess(other.pid, "other"))
    (ipcp,) = served.host.registry.ipcps
    await root.call(RegName("other", ipcp))
    served.write("client/other/enc.conf", "kex=X448")
    stop(served)
    accepts = [served.server.accept(timeout=WAIT) for _ in range(4)]
    requests = [served.arrive(served.request(Security(Encryption(kex="X448")))) for _ in accepts]
    await at_work(served)
    accepted = other.accept(timeout=WAIT)
    ours = await served.client.alloc("other", timeout=WAIT)
    assert ours.key == (await accepted).key != b""
    assert not any(request.done() for request in requests)
    go_on(served)
    for arrival in await asyncio.gather(*requests):
        close_grants(arrival)
    for allocation_ in await asyncio.gather(*accepts):
        await served.server.dealloc(allocation_.flow_id)


async def test_a_flood_at_one_name_leaves_the_others_alone(make_network: Maker) -> None:
    """A hundred requests a second that each cost an RSA signature; -s shows how long allocations take meanwhile."""
    network = await make_network(layer=True, processes=True)
    network.credentials("server", "srv", "rsa4096")
    root = network.host.root
    await network.server.call(CreateName(NameInfo("srv")))
    other = await network.host.root.announce("other")
    await other.call(CreateName(NameInfo("other")))
    await other.call(BindProcess(other.pid, "other"))
    (ipcp,) = network.host.registry.ipcps
    await root.call(RegName("other", ipcp))
    hostile = asyncio.ensure_future(_flood(network, 300))
    acceptors = [asyncio.ensure_future(_accept_all(network.server)) for _ in range(8)]
    times = []
    while not hostile.done():
        accepted = other.accept(timeout=WAIT)
        await until(lambda: network.host.registry.names["other"].queue)
        before = time.perf_counter()
        ours = await network.client.alloc("other", timeout=WAIT)
        times.append(time.perf_counter() - before)
        await network.client.dealloc(ours.flow_id)
        await other.dealloc((await accepted).flow_id)
    answered = await hostile
    for acceptor in acceptors:
        acceptor.cancel()
    await asyncio.gather(*acceptors, return_exceptions=True)
    assert answered
    times.sort()
    spread = ", ".join(f"p{share} {1000 * times[(len(times) - 1) * share // 100]:.2f} ms" for share in (50, 99, 100))
    print(f"\n{len(times)} allocations beside {answered} answered hostile requests: {spread}")
    await until(lambda: not network.host.irm.workers.view().busy)


async def _flood(network: Network, count: int) -> int:
    """How many were answered."""
    requests = []
    for _ in range(count):
        requests.append(network.arrive(network.request()))
        await asyncio.sleep(0.01)
    found = await asyncio.gather(*requests, return_exceptions=True)
    for arrival in found:
        if isinstance(arrival, Arrival):
            close_grants(arrival)
        else:
            assert isinstance(arrival, OuroError), arrival
    return sum(isinstance(arrival, Arrival) for arrival in found)


async def _accept_all(app: Any) -> None:
    while True:
        (found,) = await asyncio.gather(app.accept(), return_exceptions=True)
        if isinstance(found, Allocation):
            await app.dealloc(found.flow_id)
