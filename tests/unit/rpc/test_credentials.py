"""Who is at the other end, in the words of the kernel."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ouro_core.rpc.credentials import Credentials, own_credentials, peer_credentials
from ouro_core.rpc.paths import irm_socket, runtime_dir

CHILD = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
if len(sys.argv) > 2:
    os.setgroups([int(g) for g in sys.argv[3].split(",")])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
sock.connect("\\0" + sys.argv[1])
print(os.getpid(), flush=True)
if sys.stdin.readline() == "":
    sys.exit(0)
"""


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that anybody can connect to: it is in no directory."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{tmp_path}")
        sock.listen()
        sock.settimeout(20)
        yield sock


@pytest.fixture
def connected(listener: socket.socket) -> Iterator[Any]:
    """`child, sock = connected(*identity)`: a child process that connected, and our end."""
    made: list[tuple[subprocess.Popen[str], socket.socket]] = []

    def make(*identity: str) -> tuple["subprocess.Popen[str]", socket.socket]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, listener.getsockname()[1:].decode(), *identity],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        sock, _ = listener.accept()
        made.append((child, sock))
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        return made[-1]

    yield make
    for child, sock in made:
        child.kill()
        child.communicate()
        sock.close()


def test_our_own() -> None:
    own = own_credentials()
    assert (own.pid, own.uid, own.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert own.groups == {os.getegid(), *os.getgroups()}
    assert own.pidfd == -1
    a, b = socket.socketpair()
    with a, b:
        assert peer_credentials(a) == own


def test_a_child(connected: Any) -> None:
    child, sock = connected()
    assert peer_credentials(sock) == Credentials(child.pid, os.geteuid(), os.getegid(), own_credentials().groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_with_supplementary_groups(connected: Any) -> None:
    child, sock = connected("54321", "777,888,999")
    assert peer_credentials(sock) == Credentials(child.pid, 54321, 54321, frozenset({54321, 777, 888, 999}))


def test_a_pidfd_tells_of_the_death(connected: Any) -> None:
    child, sock = connected()
    before = len(os.listdir("/proc/self/fd"))
    pidfd = peer_credentials(sock, pidfd=True).pidfd
    try:
        assert not os.get_inheritable(pidfd)
        assert select.select([pidfd], [], [], 0)[0] == []
        child.send_signal(signal.SIGKILL)
        assert select.select([pidfd], [], [], 20)[0] == [pidfd]
    finally:
        os.close(pidfd)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pidfd_of_somebody_who_is_gone(connected: Any) -> None:
    """None, or one that says so at once; never one of another process."""
    child, sock = connected()
    child.kill()
    child.wait(20)
    before = len(os.listdir("/proc/self/fd"))
    try:
        pidfd = peer_credentials(sock, pidfd=True).pidfd
    except OSError:
        pass
    else:
        assert select.select([pidfd], [], [], 20)[0] == [pidfd]
        os.close(pidfd)
    assert len(os.listdir("/proc/self/fd")) == before


class _OldKernel(socket.socket):
    """A socket that does not know SO_PEERPIDFD (77), as before Linux 6.5."""

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        if option == 77:
            option = 12345
        return super().getsockopt(level, option, *size)


def test_a_pidfd_on_an_older_kernel(connected: Any) -> None:
    child, sock = connected()
    with _OldKernel(fileno=os.dup(sock.fileno())) as old:
        pidfd = peer_credentials(old, pidfd=True).pidfd
        assert select.select([pidfd], [], [], 0)[0] == []
        child.kill()
        assert select.select([pidfd], [], [], 20)[0] == [pidfd]
        os.close(pidfd)
        child.wait(20)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ProcessLookupError):
            peer_credentials(old, pidfd=True)
        assert len(os.listdir("/proc/self/fd")) == before


def test_on_an_older_kernel_a_closed_socket_names_nobody(connected: Any, listener: socket.socket) -> None:
    """Its process may be another one by now."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        sock, _ = listener.accept()
    with sock, _OldKernel(fileno=os.dup(sock.fileno())) as old:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ProcessLookupError, match=f"process {os.getpid()} is gone"):
            peer_credentials(old, pidfd=True)
        assert len(os.listdir("/proc/self/fd")) == before


def test_where_the_socket_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURO_RUNTIME_DIR", "/somewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    assert irm_socket() == Path("/somewhere/irm.sock")
    monkeypatch.delenv("OURO_RUNTIME_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime_dir() == Path("/run/ouroboros")
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    assert runtime_dir() == Path("/run/user/5/ouroboros")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_dir() == Path("/tmp/ouroboros-5")
