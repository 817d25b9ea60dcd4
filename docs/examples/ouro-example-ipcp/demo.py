"""A layer of type `metered` in one process: a flow through it, and what it counted. Prints JSON."""

import asyncio
import json

from ouro_core import Node, OutOfMemory


async def main() -> None:
    async with Node(direct=False) as node:
        await node.irm.create_ipcp("meter0", "metered")
        await node.irm.bootstrap_ipcp("meter0", "accounting", {"most": 1})
        await node.irm.reg_name("echo", "meter0")
        await node.bind("echo")

        accepting = asyncio.create_task(node.flow_accept(10.0))
        async with await node.flow_alloc("echo", timeout=10.0) as flow:
            peer = await accepting
            try:
                await node.flow_alloc("echo", timeout=10.0)
            except OutOfMemory as e:
                refusal = str(e)
            for _ in range(50):
                await flow.write(b"ping")
                await peer.write(await peer.read())
                await flow.read()
            await flow.write(b"last words")
            counted = await node.irm.rib_read("ipcps/meter0/passages")
        received = [packet.decode() async for packet in peer]
        await peer.close()
        print(json.dumps({"refusal": refusal, "counted": counted, "received": received}, indent=2))


asyncio.run(main())
