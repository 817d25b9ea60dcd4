"""Network namespaces of the test kit."""

import os
import socket
import subprocess
import sys

import pytest

from ouro_core.testing.netns import Namespace, hub, join, unusable

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_a_namespace_is_entered_and_left() -> None:
    outside = here()
    with Namespace() as namespace:
        assert here() == outside
        with namespace.inside():
            inside = here()
            assert inside != outside
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
            child = subprocess.run(
                [sys.executable, "-c", "import os; print(os.readlink('/proc/self/ns/net'))"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert child.stdout.strip() == inside
        assert here() == outside
        with pytest.raises(ZeroDivisionError), namespace.inside():
            raise ZeroDivisionError
        assert here() == outside
        with pytest.raises(RuntimeError, match="does not exist"):
            namespace.ip("link", "show", "no-such-dev")


def received(listener: socket.socket) -> bytes:
    listener.settimeout(10)
    return listener.recv(2048)


def frame_socket(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((device, 0xA123))
    return sock


FRAME = b"\xff" * 6 + bytes.fromhex("02000000aaaa") + b"\xa1\x23" + b"hello".ljust(46, b"\0")


def test_what_is_joined_carries_the_first_frame() -> None:
    with Namespace() as a, Namespace() as b:
        join(a, "left", b, "right", mtu=9000)
        with a.inside():
            sender = frame_socket("left")
        with b.inside():
            listener = frame_socket("right")
        with sender, listener:
            sender.send(FRAME)
            assert received(listener) == FRAME
        assert "mtu 9000" in b.ip("link", "show", "right")


def test_a_hub_gives_everything_to_everybody() -> None:
    with Namespace() as namespace:
        hub(namespace, "v0", "v1", "v2")
        with namespace.inside():
            sockets = [frame_socket(device) for device in ("v0", "v1", "v2")]
        try:
            for to in (FRAME, b"\x02" + bytes(5) + FRAME[6:]):
                sockets[0].send(to)
                assert [received(sock) for sock in sockets[1:]] == [to, to]
        finally:
            for sock in sockets:
                sock.close()
