"""IPCPs in processes of their own, to be killed: `python mover_child.py SOCKET`. Each order, pump or forwarder, is
followed by the grants of a client and of two ends, and makes one. What comes out of one end goes into the other: in a
pump over a socket that sends to itself, in a forwarder by routes 0 and 1.
"""

import os
import signal
import socket
import sys

from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import FlowEnd, PacketClient
from ouro_core.contracts.programs import Group
from ouro_core.testing.packets.programs import dt, udp, udp_route
from ouro_core.testing.packets.wire import raw_address


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def pump(client: PacketClient, ends: list[FlowEnd]) -> object:
    loop = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    loop.bind(("127.0.0.1", 0))
    made = client.pump(udp(socket.AF_INET), loop.fileno())
    for key, end in enumerate(ends, 1):
        made.bind(key, end, udp_route(3 - key, raw_address(loop.getsockname())))
    return loop, made


def forwarder(client: PacketClient, ends: list[FlowEnd]) -> object:
    made = client.forwarder(dt(99, window=None))
    ports = [made.add_network(end) for end in ends]
    made.set_routes(0, {n: Group((port,)) for n, port in enumerate(ports)})
    return made


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    while order := control.recv(64):
        granted = [receive(control) for _ in range(3)]
        pid = os.fork()
        if not pid:
            client = SsmPacketSystem.client(*granted[0])
            ends = [client.attach(*each) for each in granted[1:]]
            mover = {b"pump": pump, b"forwarder": forwarder}[order](client, ends)
            control.send(b"%d" % os.getpid())
            signal.pause()
            del mover
        for _, fds in granted:
            for fd in fds:
                os.close(fd)
        os.waitpid(pid, 0)
        control.send(b"ended")


if __name__ == "__main__":
    main()
