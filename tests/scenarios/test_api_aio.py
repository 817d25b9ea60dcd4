"""Flows in asyncio between real processes of a real daemon, and the IRM by method."""

import asyncio
import os
import subprocess
import sys

import pytest

from ouro_core import Irm, IrmClient, IrmdError, NotFound, UnknownName
from ouro_core.model.layer import IpcpState
from ouro_core.testing.host import Host, eventually

SERVER = """
import asyncio, os
from ouro_core import IrmClient, OuroError, aio

async def echo(flow):
    async with flow:
        try:
            async for packet in flow:
                await flow.write(packet)
        except OuroError:
            pass

async def main():
    async def serve():
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(echo(await aio.flow_accept()))
    serving = asyncio.create_task(serve())
    async with IrmClient() as irm:
        await irm.bind_process(os.getpid(), "srv")
    print("bound", flush=True)
    await serving

asyncio.run(main())
"""


def serve(host: Host) -> "subprocess.Popen[str]":
    server = host.python(SERVER)
    assert server.stdout is not None
    assert server.stdout.readline() == "bound\n"
    return server


def run(host: Host, code: str) -> str:
    """What the body of a coroutine printed; the program must end well."""
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    program = host.python(
        f"import asyncio, os\nfrom ouro_core import *\nasync def main():\n{body}\nasyncio.run(main())"
    )
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    return output


def test_many_flows_on_one_loop(host: Host) -> None:
    serve(host)
    code = """
async def talk(n):
    async with await aio.flow_alloc("srv", timeout=30) as flow:
        for i in range(20):
            await flow.write(b"%d %d" % (n, i))
            assert await flow.read() == b"%d %d" % (n, i)
async with asyncio.timeout(50):
    await asyncio.gather(*(talk(n) for n in range(50)))
print(len(os.listdir("/proc/self/task")))
"""
    assert run(host, code) == "1\n", "threads"
    eventually(lambda: host.status().flows == 0)


def test_both_interfaces_in_one_process(host: Host) -> None:
    serve(host)
    code = """
with flow_alloc("srv", timeout=20) as one:
    async with await aio.flow_alloc("srv", timeout=20) as two:
        one.write(b"1")
        await two.write(b"2")
        print(await two.read(), one.read())
with Irm() as irm:
    print(len(irm.rib_read("processes")))
"""
    assert run(host, code) == "b'2' b'1'\n2\n"


def test_cancelled_allocations_leave_no_flow(host: Host) -> None:
    serve(host)
    code = """
import random
chance, cancelled = random.Random(1), 0
async with await aio.flow_alloc("srv", timeout=20):
    pass
for _ in range(200):
    try:
        async with asyncio.timeout(chance.uniform(0, 0.003)):
            flow = await aio.flow_alloc("srv", timeout=20)
        await flow.close()
    except TimeoutError:
        cancelled += 1
for _ in range(30):
    task = asyncio.create_task(aio.flow_accept())
    await asyncio.sleep(0)
    task.cancel()
async with IrmClient() as irm:
    for _ in range(1000):
        flows = await irm.list_flows()
        if not flows:
            break
        await asyncio.sleep(0.02)
    print(cancelled > 10, flows)
"""
    assert run(host, code) == "True ()\n"


def test_leaving_the_loop_deallocates_while_the_process_lives(host: Host) -> None:
    serve(host)
    code = """
import asyncio, sys
from ouro_core import aio
kept = []
async def main():
    for _ in range(5):
        kept.append(await aio.flow_alloc("srv", timeout=20))
        await kept[-1].write(b"x")
for _ in range(2):
    asyncio.run(main())
    print([flow.closed for flow in kept], flush=True)
    kept.clear()
import signal
signal.pause()
"""
    program = host.python(code)
    assert program.stdout is not None
    for _ in range(2):
        assert program.stdout.readline() == f"{[True] * 5}\n"
    eventually(lambda: host.status().flows == 0)
    assert program.poll() is None


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_a_daemon_that_goes(layered: Host, way: str) -> None:
    serve(layered)
    code = """
import asyncio, sys
from ouro_core import *
async def talk():
    flow = await aio.flow_alloc("srv", timeout=20)
    await flow.write(b"x")
    assert await flow.read() == b"x"
    return flow
async def main():
    flow = await talk()
    print("up", flush=True)
    try:
        await flow.read()
    except FlowDown:
        print("down", flush=True)
    try:
        await aio.flow_alloc("srv")
    except IrmdError:
        print("no daemon", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with asyncio.timeout(60):
        while True:
            try:
                again = await talk()
                break
            except OuroError:
                await asyncio.sleep(0.05)
    await flow.close()
    await again.write(b"y")
    assert await again.read() == b"y"
    await again.close()
    print("again", flush=True)
asyncio.run(main())
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env=layered.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        assert program.stdout.readline() == "up\n"
        assert layered.daemon is not None
        layered.daemon.send_signal(9 if way == "killed" else 15)
        layered.daemon.wait(30)
        assert program.stdout.readline() == "down\n"
        assert program.stdout.readline() == "no daemon\n"
        layered.start()
        serve(layered)
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "again\n"
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()


# ---------------------------------------------------------------- the IRM


def test_the_irm_in_synchronous_code(host: Host) -> None:
    path = host.runtime / "irm.sock"
    with Irm(path) as irm:
        ipcp = irm.autoboot("one", "local", "lo", {})
        assert (ipcp.name, ipcp.state, ipcp.layer_name) == ("one", IpcpState.OPERATIONAL, "lo")
        irm.create_name("name")
        irm.reg_name("name", "one")
        irm.bind_program(sys.executable, "name", ["-c", "pass"], auto=False)
        assert [n.name for n in irm.list_names()] == ["lo", "name", "one"]
        assert irm.rib_read("names/name")["programs"]
        assert "names/" in irm.rib_list()
        irm.unbind_program(sys.executable, "name")
        irm.unreg_name("name", ipcp)
        irm.unbind_ipcp(ipcp.id)
        irm.destroy_name("name")
        irm.destroy_ipcp("one")
        assert irm.list_ipcps() == ()
        assert irm.list_flows() == ()
        with pytest.raises(NotFound):
            irm.destroy_ipcp("one")
        with pytest.raises(UnknownName):
            irm.destroy_name("name")
    with pytest.raises(IrmdError):
        irm.list_ipcps()
    with pytest.raises(IrmdError, match="ouro irmd"):
        Irm(host.directory / "nothing here")


async def test_the_irm_in_asyncio(host: Host) -> None:
    async with IrmClient(host.runtime / "irm.sock") as irm:
        await asyncio.gather(*(irm.create_ipcp(f"i{n}", "local") for n in range(5)))
        ipcps = await irm.list_ipcps()
        assert sorted(i.name for i in ipcps) == [f"i{n}" for n in range(5)]
        assert len({i.pid for i in ipcps} | {os.getpid()}) == 6
        layers = await asyncio.gather(*(irm.bootstrap_ipcp(i, i.name) for i in ipcps))
        assert {layer.name for layer in layers} == {i.name for i in ipcps}
        await asyncio.gather(*(irm.destroy_ipcp(i) for i in ipcps))
        assert await irm.list_ipcps() == ()
