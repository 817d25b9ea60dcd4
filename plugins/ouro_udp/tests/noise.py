"""A program that sends noise: `python noise.py KIND PORT COUNT`. Prints how many datagrams it sent, 50,000 a second."""

import random
import socket
import sys
import time
from collections.abc import Callable

from ouro_udp.wire import UdpCodec

from ouro_core.model.qos import RAW
from ouro_core.shim import Extension, FlowReply, FlowRequest

RATE = 50_000
CODEC = UdpCodec()
Make = Callable[[random.Random], bytes]

KINDS: dict[str, Make] = {
    "endpoints": lambda r: r.randbytes(4) + r.randbytes(r.randint(0, 100)),
    "short": lambda r: bytes(4)[: r.randint(0, 4)] + r.randbytes(r.randint(0, 42)) * r.randint(0, 1),
    "codes": lambda r: bytes(4) + r.randbytes(60),
    "requests": lambda r: CODEC.encode(FlowRequest(r.randint(1, 2**31), r.randbytes(16), RAW, r.randbytes(60))),
    "replies": lambda r: CODEC.encode(FlowReply(r.randint(1, 2**31), r.randint(1, 2**31), 0, r.randbytes(60))),
    "extensions": lambda r: CODEC.encode(Extension(r.randbytes(r.randint(0, 60)))),
    "long": lambda r: bytes(4) + r.randbytes(9000),
}


def main(kind: str, port: int, count: int) -> None:
    rng = random.Random(1)
    make = KINDS[kind]
    datagrams = [make(rng) for _ in range(min(count, 5000))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.66", 0))
        sock.connect(("127.0.0.2", port))
        start, sent = time.monotonic(), 0
        while sent < count:
            for datagram in datagrams[:500]:
                try:
                    sock.send(datagram)
                except ConnectionRefusedError:
                    pass
                sent += 1
            datagrams = datagrams[500:] + datagrams[:500]
            time.sleep(max(0.0, start + sent / RATE - time.monotonic()))
    print(sent)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
