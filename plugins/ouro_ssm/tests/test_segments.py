"""Descriptors that are not what a grant says: a clear error, nothing mapped, nothing left open."""

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest
from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import ClientRef
from ouro_core.model.errors import PacketsError

SEGMENTS = {"pool": 0, "event set": 1}
"""Which descriptor of the grant of `admit`; a flow's segment is the first of its own."""


def forged(fd: int, change: Callable[[bytearray], object], seals: int = 7, keep: float = 1.0) -> int:
    """A copy of a segment, changed, of the same owner and mode; or only the first part of it."""
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as memory:
        content = bytearray(memory[:])
    change(content)
    copy = os.memfd_create("forged", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(copy, content[: int(size * keep)])
    status = os.fstat(fd)
    os.fchmod(copy, status.st_mode & 0o777)
    os.fchown(copy, status.st_uid, status.st_gid)
    fcntl.fcntl(copy, 1033, seals)
    return copy


def nothing(content: bytearray) -> None:
    """Changes nothing."""


def field(layout: str, at: int, value: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(layout, content, at, value)


DEFECTS: dict[str, tuple[Callable[[bytearray], object], int, float, str]] = {
    "magic": (field("<I", 0, 0x12345678), 7, 1.0, "magic"),
    "an older layout": (field("<H", 4, 1), 7, 1.0, "run the same version of ouro-ssm everywhere"),
    "a newer layout": (field("<H", 4, 999), 7, 1.0, "run the same version of ouro-ssm everywhere"),
    "a feature that we do not know": (field("<I", 8, 1), 7, 1.0, "features"),
    "another one's number": (field("<I", 12, 77), 7, 1.0, "number 77"),
    "a quarter of it": (nothing, 7, 0.25, "does not fit|expected at least"),
    "a few bytes": (nothing, 7, 0.0, "expected at least"),
    "no seal against shrinking": (nothing, 5, 1.0, "seals"),
    "no seal at all": (nothing, 0, 1.0, "seals"),
}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("segment", SEGMENTS)
def test_of_a_client(host: Any, segment: str, defect: str) -> None:
    change, seals, keep, words = DEFECTS[defect]
    ref = host.new_ref()
    grant = host.broker.admit(ref)
    before = descriptors()
    data, fds = host.sent(grant)
    place = SEGMENTS[segment]
    os.close(fds[place])
    fds[place] = forged(grant.fds[place], change, seals, keep)
    with pytest.raises(PacketsError, match=words):
        SsmPacketSystem.client(data, fds)
    assert descriptors() == before
    host.broker.leave(ref, died=False)


@pytest.mark.parametrize("defect", DEFECTS)
def test_of_a_flow(host: Any, defect: str) -> None:
    change, seals, keep, words = DEFECTS[defect]
    ours, other = host.client(), host.client()
    grant = host.create(ours.ref, other.ref).grant(0)
    data, fds = host.sent(grant)
    before = descriptors() - len(fds)
    os.close(fds[0])
    fds[0] = forged(grant.fds[0], change, seals, keep)
    with pytest.raises(PacketsError, match=words):
        ours.attach(data, fds)
    assert descriptors() - before <= 2, "the bells of the other client are kept at most"
    end = ours.attach(*host.sent(grant))
    end.close()


def test_of_another_flow(host: Any) -> None:
    ours, other = host.client(), host.client()
    one, two = (host.create(ours.ref, other.ref) for _ in range(2))
    data, fds = host.sent(one.grant(0))
    os.close(fds[0])
    fds[0] = os.dup(two.grant(0).fds[0])
    with pytest.raises(PacketsError, match="expected 1"):
        ours.attach(data, fds)


@pytest.mark.parametrize("stranger", ["file", "pipe", "socket", "directory", "closed", "negative"])
def test_of_something_else(host: Any, stranger: str, tmp_path: Any) -> None:
    ours, other = host.client(), host.client()
    data, fds = host.sent(host.create(ours.ref, other.ref).grant(0))
    os.close(fds[0])
    if stranger == "file":
        (tmp_path / "file").write_bytes(bytes(100000))
        fds[0] = os.open(tmp_path / "file", os.O_RDWR)
    elif stranger == "pipe":
        fds[0], writer = os.pipe()
        os.close(writer)
    elif stranger == "socket":
        fds[0] = os.dup(fds[-1])
    elif stranger == "directory":
        fds[0] = os.open(tmp_path, os.O_RDONLY)
    elif stranger == "negative":
        fds[0] = -1
    with pytest.raises(PacketsError):
        ours.attach(data, fds)


def test_a_grant_of_another_client(host: Any) -> None:
    ours, other = host.client(), host.client()
    flow = host.create(ours.ref, other.ref)
    with pytest.raises(PacketsError, match=f"for client {other.ref.id}"):
        ours.attach(*host.sent(flow.grant(1)))


def test_a_pool_for_reading_only_is_refused(host: Any) -> None:
    ref: ClientRef = host.new_ref()
    grant = host.broker.admit(ref)
    data, fds = host.sent(grant)
    reader = os.open(f"/proc/self/fd/{fds[0]}", os.O_RDONLY)
    os.close(fds[0])
    fds[0] = reader
    with pytest.raises(PacketsError, match="cannot map"):
        SsmPacketSystem.client(data, fds)
    host.broker.leave(ref, died=False)
