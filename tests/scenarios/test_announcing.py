"""A program makes itself known: once, however many ways it has of using flows."""

import pytest

from ouro_core.testing.host import Host


def run(host: Host, code: str) -> str:
    """What a program printed; it must end well."""
    program = host.python(code)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    return output


BIND = {
    "announce": "announce('me')",
    "a method of the daemon": "with Irm() as irm: irm.bind_process(os.getpid(), 'me')",
}
AIO_BIND = {
    "announce": "await aio.announce('me'); await aio.announce('me')",
    "synchronous announce": "announce('me')",
    "a method of the daemon": "irm = await client.__aenter__(); await irm.bind_process(os.getpid(), 'me')",
}


@pytest.mark.parametrize("how", BIND)
def test_a_program_binds_itself(host: Host, how: str) -> None:
    code = f"""
import os, threading
from ouro_core import Irm, announce, flow_accept, flow_alloc
{BIND[how]}
def serve():
    with flow_accept() as flow:
        flow.write(flow.read().upper())
threading.Thread(target=serve).start()
with flow_alloc("me") as flow:
    flow.write(b"hello")
    print(flow.read())
"""
    assert run(host, code) == "b'HELLO'\n"


@pytest.mark.parametrize("how", AIO_BIND)
def test_a_program_binds_itself_in_asyncio(host: Host, how: str) -> None:
    code = f"""
import asyncio, os
from ouro_core import Irm, IrmClient, aio, announce, flow_alloc
client = IrmClient()
async def main():
    {AIO_BIND[how]}
    async def serve():
        async with await aio.flow_accept() as flow:
            await flow.write((await flow.read()).upper())
            await flow.read()
    serving = asyncio.create_task(serve())
    def ask():  # synchronous flows of the same process: a second announcement would end the first one
        with flow_alloc("me", timeout=10) as flow:
            flow.write(b"hello")
            return flow.read()
    print(await asyncio.to_thread(ask))
    with Irm() as irm:
        print(len(irm.rib_read("processes")))
    serving.cancel()
asyncio.run(main())
"""
    assert run(host, code) == "b'HELLO'\n1\n"


def test_an_ipcp_of_the_same_name_as_its_layer(host: Host) -> None:
    code = """
from ouro_core import Irm
with Irm() as irm:
    print(irm.autoboot("q", "local", "q").layer.name)
"""
    assert run(host, code) == "q\n"


def test_numbers_in_errors_are_those_of_flows(host: Host) -> None:
    code = """
import threading
from ouro_core import FlowDown, announce, flow_accept, flow_alloc
announce("me")
accepted = []
thread = threading.Thread(target=lambda: accepted.append(flow_accept()))
thread.start()
flow = flow_alloc("me")
thread.join()
accepted[0].close()
try:
    flow.read()
except FlowDown as e:
    print(str(e).startswith(f"flow {flow.flow_id} is down: the other end was deallocated"), e)
flow.close()
"""
    assert run(host, code).startswith("True")
