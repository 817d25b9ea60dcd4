"""A client in a process of its own: `python child.py SOCKET ROLE ARGUMENT...`; its grants come over the socket."""

import ctypes
import json
import mmap
import os
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from ouro_ssm.client import SsmClient

from ouro_core.contracts.packets import FlowEnd, Options, PacketClient
from ouro_core.model.errors import FlowDown, OuroError

PATIENCE = Options(read_timeout=30.0, write_timeout=30.0)


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def say(control: socket.socket, **values: object) -> None:
    control.send(json.dumps(values).encode())


def packet(number: int, size: int) -> bytes:
    """Number, checksum, filling."""
    body = number.to_bytes(4, "little") + bytes([number & 255]) * max(0, size - 8)
    return zlib.crc32(body).to_bytes(4, "little") + body


def check(data: bytes, number: int) -> None:
    assert zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little"), f"packet {number} is damaged"
    assert int.from_bytes(data[4:8], "little") == number, f"expected packet {number}, got {data[4:8]!r}"


def echo(end: FlowEnd, control: socket.socket) -> None:
    try:
        while True:
            end.write(end.read())
    except FlowDown:
        pass


def write(end: FlowEnd, control: socket.socket, count: str, size: str, batch: str = "1") -> None:
    """So many numbered packets; 0: for ever."""
    number, last, step = 0, int(count), int(batch)
    while not last or number < last:
        if step == 1:
            end.write(packet(number, int(size)))
            number += 1
        else:
            many = [packet(number + n, int(size)) for n in range(min(step, last - number if last else step))]
            number += end.write_many(many)


def read(end: FlowEnd, control: socket.socket, count: str = "0") -> None:
    """Numbered packets, one after the other, until so many came or the flow is down."""
    number = 0
    try:
        while not int(count) or number < int(count):
            check(end.read(), number)
            number += 1
    except FlowDown:
        pass
    say(control, read=number)


def recv(end: FlowEnd, control: socket.socket) -> None:
    """The same without a copy, a few packets held at a time."""
    held: list[Any] = []
    number = 0
    while True:
        held.append(end.recv())
        check(bytes(held[-1].payload), number)
        number += 1
        if len(held) > 5:
            held.clear()


def fork(end: FlowEnd, control: socket.socket) -> None:
    """What a forked child may not do; the parent still can."""
    refused = []
    reader, writer = os.pipe()
    if os.fork() == 0:
        calls: dict[str, Callable[[], object]]
        calls = {"read": end.read, "queued": end.queued, "write": lambda: end.write(b"child")}
        for name, call in calls.items():
            try:
                call()
            except OuroError as e:
                refused.append(f"{name}: {type(e).__name__}")
        del end
        os.write(writer, json.dumps(refused).encode())
        os._exit(0)
    os.wait()
    end.write(b"parent")
    say(control, refused=json.loads(os.read(reader, 4096)))


def idle(end: FlowEnd, control: socket.socket) -> None:
    control.recv(1)


def hold(end: FlowEnd, control: socket.socket, count: str) -> None:
    """So many blocks, until told to give them back."""
    held = [end.alloc(256) for _ in range(int(count))]
    say(control, held=len(held))
    control.recv(8)


def hog(end: FlowEnd, control: socket.socket) -> None:
    """A block nearly all of the time, until told to stop."""
    taken = 0
    while not select.select([control], [], [], 0)[0]:
        block = end.alloc(100)
        until = time.monotonic() + 0.0003
        while time.monotonic() < until:
            pass
        block.release()
        taken += 1
    control.recv(8)
    say(control, taken=taken)


def take(end: FlowEnd, control: socket.socket, count: str) -> None:
    """A block, so many times."""
    for _ in range(int(count)):
        end.alloc(100).release()
    say(control, taken=int(count))


def outcome(call: Callable[[], object]) -> object:
    try:
        call()
    except OSError as e:
        return type(e).__name__
    return True


def reopen(end: FlowEnd, control: socket.socket) -> None:
    """What can be done with the descriptors that come; anything else ends it."""
    while True:
        _, fds, _, _ = socket.recv_fds(control, 16, 1)
        if not fds:
            return
        path = f"/proc/self/fd/{fds[0]}"
        calls: dict[str, Callable[[], object]] = {
            "read": partial(os.pread, fds[0], 16, 0),
            "map for writing": partial(mmap.mmap, fds[0], 4096),
            "write": partial(os.pwrite, fds[0], b"x", 0),
            "open for writing": partial(os.open, path, os.O_RDWR),
            "open for reading": partial(os.open, path, os.O_RDONLY),
        }
        say(control, **{what: outcome(call) for what, call in calls.items()})


def look(end: FlowEnd, control: socket.socket, pid: str) -> None:
    """Into another process."""
    say(
        control,
        descriptors=outcome(partial(os.listdir, f"/proc/{pid}/fd")),
        memory=outcome(partial(os.open, f"/proc/{pid}/mem", os.O_RDONLY)),
    )


def become(uid: int) -> None:
    """This user, as if he had started us: his processes may be looked into by himself."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0, "PR_SET_DUMPABLE"


ROLES = {role.__name__: role for role in (echo, write, read, recv, fork, idle, hold, hog, take, reopen, look)}


def zygote(control: socket.socket) -> None:
    """Forks a client for each order: two grants follow it. Nothing is mapped here, so the children may."""
    while order := control.recv(256):
        role, *arguments = json.loads(order)
        admitted, granted = receive(control), receive(control)
        pid = os.fork()
        if not pid:
            client = SsmClient(*admitted)
            end = client.attach(*granted, PATIENCE)
            say(control, pid=os.getpid())
            ROLES[role](end, control, *arguments)
            os._exit(0)
        for fd in (*admitted[1], *granted[1]):
            os.close(fd)
        os.waitpid(pid, 0)
        say(control, ended=pid)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2] == "zygote":
        return zygote(control)
    admitted = receive(control)
    if uid := int(os.environ["CHILD_UID"]):
        become(uid)
    client: PacketClient = SsmClient(*admitted)
    end = client.attach(*receive(control), PATIENCE)
    say(control, ready=True)
    ROLES[sys.argv[2]](end, control, *sys.argv[3:])
    client.close()


if __name__ == "__main__":
    main()
