"""What users and circumstances do to a daemon: it lives on, for everybody else."""

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ouro_core.model.irm_requests import ListIpcps
from ouro_core.rpc.blocking import connect
from ouro_core.testing.host import Host, eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

USER = 12345
PROLOGUE = f"""
import os, sys, time
from ouro_core import *
from ouro_core.plugins import PluginHost
PluginHost.from_environment().get("pool_allocators", "ssm")  # a user may not be allowed to read where it is installed
import ouro_core.api.irm
from ouro_core.api import process
from ouro_core.contracts.packets import Options
from ouro_core.model.errors import OutOfMemory
from ouro_core.model.irm_requests import *
from ouro_core.model.qos import RAW
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.rpc.fds import close_grants
from ouro_core.rpc.paths import irm_socket
from ouro_core.wire.control import Frame, Kind, encode, frame_bytes
os.setgroups([]); os.setgid({USER}); os.setuid({USER})
def channel():
    return BlockingChannel(connect(irm_socket()))
"""


@pytest.fixture
def open_host() -> Iterator[Host]:
    """A daemon that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="ouro-users-") as directory:
        os.chmod(directory, 0o755)
        with Host(Path(directory)) as host:
            yield host


def attack(host: Host, code: str) -> "subprocess.Popen[str]":
    """Start a program as another user; returns when it says "done"."""
    program = host.python(PROLOGUE + code)
    assert program.stdout is not None
    seen = []
    for line in program.stdout:
        if line == "done\n":
            return program
        seen.append(line)
    raise AssertionError("".join(seen))


def descriptors(host: Host) -> int:
    assert host.daemon is not None
    return len(os.listdir(f"/proc/{host.daemon.pid}/fd"))


# ---------------------------------------------------------------- the runtime directory


def test_a_directory_that_is_removed_belongs_to_the_next_daemon(tmp_path: Path) -> None:
    first = Host(tmp_path)
    first.start()
    shutil.rmtree(first.runtime)
    with Host(tmp_path) as second:
        assert first.stop() == 0
        second.call(ListIpcps())
        assert second.daemon is not None
        assert (second.runtime / "irmd.lock").read_text() == f"{second.daemon.pid}\n"


def test_without_its_directory_a_daemon_ends_in_order(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.start()
    shutil.rmtree(host.runtime)
    assert host.stop() == 0
    assert "Traceback" not in host.log.read_text()


# ---------------------------------------------------------------- a share, and no more


@as_root
def test_announcing_again_and_again(open_host: Host) -> None:
    """Each announcement costs descriptors until the process ends; nobody takes them all."""
    before = descriptors(open_host)
    program = attack(
        open_host,
        """
try:
    while True:
        with_channel = channel()
        close_grants(with_channel.call(Announce("again")))
        with_channel.close()
except OutOfMemory as e:
    print(e, flush=True)
print("done", flush=True)
time.sleep(100)
""",
    )
    assert program.poll() is None
    assert descriptors(open_host) < before + 7000
    open_host.call(ListIpcps())
    program.kill()
    eventually(lambda: descriptors(open_host) <= before + 1, what="all came back but the pool of the user")


@as_root
def test_thousands_of_accept_calls_for_hundreds_of_names_end_in_no_time(open_host: Host) -> None:
    program = attack(
        open_host,
        """
bind = channel()
bind.call(Announce("names"))
try:
    for number in range(1000):
        bind.call(BindProcess(os.getpid(), f"name{number}"))
except OutOfMemory as e:
    assert "256 names" in str(e), e
accepts = connect(irm_socket())
name, body, _ = encode(FlowAccept())
accepts.sendall(b"".join(frame_bytes(Frame(Kind.REQUEST, number, name, body)) for number in range(1000)))
print("done", flush=True)
time.sleep(100)
""",
    )
    eventually(lambda: next(iter(open_host.rib("processes").values()))["accepting"] == 1000)
    program.kill()
    eventually(open_host.quiet)


@as_root
def test_connections_without_end(open_host: Host) -> None:
    """They are refused beyond a number; one line of the log says so, not one for each."""
    before = descriptors(open_host)
    program = attack(
        open_host,
        """
held, refused = [], 0
while refused < 500:
    held.append(connect(irm_socket()))
    if len(held) > 2048:
        refused += held.pop().recv(1) == b""
print("done", flush=True)
time.sleep(100)
""",
    )
    open_host.call(ListIpcps(), 10.0)
    assert before + 2000 < descriptors(open_host) < before + 2100
    assert open_host.log.read_text().count("no more are accepted") == 1
    program.kill()
    eventually(lambda: descriptors(open_host) <= before + 1)
    assert attack(open_host, 'channel().call(ListIpcps(), 10)\nprint("done", flush=True)').wait(20) == 0


@as_root
def test_half_of_long_messages_on_many_connections(open_host: Host) -> None:
    """The daemon keeps a bounded part of them; the user may come again."""
    program = attack(
        open_host,
        """
import contextlib, struct
held = []
for _ in range(100):
    with contextlib.suppress(OSError, OuroError):
        held.append(connect(irm_socket()))
        held[-1].settimeout(10)
        held[-1].sendall(struct.pack("!I", 4 << 20) + bytes((4 << 20) - 1))
for each in held:
    each.close()
channel().call(ListIpcps(), 10)
print("done", flush=True)
""",
    )
    assert program.wait(20) == 0
    assert open_host.daemon is not None
    status = Path(f"/proc/{open_host.daemon.pid}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    assert peak < 250_000, "kB; without a limit it would be 400 MB more"


@as_root
def test_flows_whose_descriptors_nobody_takes(open_host: Host) -> None:
    """A client that allocates and does not read the answers has a bounded share of the daemon's descriptors."""
    before = descriptors(open_host)
    program = attack(
        open_host,
        """
import contextlib
channel().call(Announce("deaf"))
channel_to_bind = channel()
lifetime = connect(irm_socket())
def frame(number, request):
    name, body, _ = encode(request)
    return frame_bytes(Frame(Kind.REQUEST, number, name, body))
lifetime.settimeout(10)
lifetime.sendall(frame(1, Announce("deaf")))
time.sleep(0.2)
channel_to_bind.call(BindProcess(os.getpid(), "deaf"))
deaf = [connect(irm_socket()) for _ in range(4)]
for number in range(2, 1000):
    for each in deaf:
        each.settimeout(10)
        with contextlib.suppress(OSError):
            each.sendall(frame(2 * number, FlowAccept(5.0)) + frame(2 * number + 1, FlowAlloc("deaf", RAW, 5.0)))
print("done", flush=True)
time.sleep(100)
""",
    )
    for _ in range(20):
        assert descriptors(open_host) < before + 2048 + 4096 + 200
        open_host.call(ListIpcps())
    program.kill()
    eventually(open_host.quiet)
    eventually(lambda: descriptors(open_host) <= before + 1, what="all came back but the pool of the user")


# ---------------------------------------------------------------- descriptors that are shared


@as_root
def test_nobody_is_held_up_by_what_is_done_to_shared_descriptors(open_host: Host) -> None:
    """Flags belong to the open file, not to who holds a descriptor of it: a user can make all he was given blocking."""
    program = attack(
        open_host,
        """
import contextlib, socket, stat, threading
me = process.current()
channel().call(BindProcess(os.getpid(), "mine"))
got = []
accepting = threading.Thread(target=lambda: got.append(flow_accept(timeout=20)))
accepting.start()
flow = flow_alloc("mine", timeout=10)
accepting.join()
daemon = {c.socket.fileno() for c in me._channels}
for fd in map(int, os.listdir("/proc/self/fd")):
    with contextlib.suppress(OSError):
        kind = os.readlink(f"/proc/self/fd/{fd}")
        if "eventfd" in kind:
            os.set_blocking(fd, False)
            for bit in reversed(range(64)):  # as full as it gets
                with contextlib.suppress(OSError):
                    os.eventfd_write(fd, 1 << bit)
            os.set_blocking(fd, True)
        elif kind.startswith("socket:") and fd not in daemon:
            bell = socket.socket(fileno=os.dup(fd))
            bell.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    bell.send(b"x" * 1000)
            bell.setblocking(True)
            bell.detach()
flow.close()
print("done", flush=True)
time.sleep(100)
""",
    )
    assert open_host.call(ListIpcps(), 10.0).ipcps == ()
    program.kill()
    eventually(open_host.quiet)


# ---------------------------------------------------------------- time of the daemon


@as_root
def test_a_user_who_asks_without_end_keeps_nobody_waiting(open_host: Host) -> None:
    """Long answers, thousands of requests on each of many connections: half an hour of work for the daemon."""
    program = attack(
        open_host,
        """
import threading
from ouro_core.model.names import NameInfo
bind = channel()
for number in range(1000):
    bind.call(CreateName(NameInfo(f"{number:0200}")))
name, body, _ = encode(ListNames())
questions = b"".join(frame_bytes(Frame(Kind.REQUEST, number, name, body)) for number in range(1000))
def ask(sock):
    sock.sendall(questions)
    while sock.recv(1 << 20):
        pass
for _ in range(50):
    threading.Thread(target=ask, args=(connect(irm_socket()),), daemon=True).start()
time.sleep(1)
print("done", flush=True)
time.sleep(100)
""",
    )
    for _ in range(5):
        assert open_host.call(ListIpcps(), 10.0).ipcps == ()
    assert program.poll() is None
    program.kill()
    eventually(open_host.quiet)


# ---------------------------------------------------------------- no descriptors left


def test_a_daemon_without_descriptors_neither_ends_nor_spins_and_goes_on_when_it_has_some(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        assert host.daemon is not None
        resource.prlimit(host.daemon.pid, resource.RLIMIT_NOFILE, (60, 60))
        held = [connect(host.runtime / "irm.sock") for _ in range(150)]
        eventually(lambda: "Cannot accept connections" in host.log.read_text())
        time.sleep(1.0)
        assert host.log.read_text().count("Cannot accept connections") < 50
        for each in held:
            each.close()
        program = host.python(
            "import threading, time\nfrom ouro_core import *\nannounce('n')\naccepted, flows = [], []\n"
            "def serve():\n    while True:\n        try:\n            accepted.append(flow_accept())\n"
            "        except OuroError:\n            time.sleep(0.01)\n"
            "threading.Thread(target=serve, daemon=True).start()\n"
            "try:\n    while True:\n        flows.append(flow_alloc('n', timeout=5))\n"
            "except OuroError as e:\n    print(len(flows) > 5, e, flush=True)\n"
            "for each in flows + accepted:\n    each.close()\n"
            "with flow_alloc('n', timeout=5) as flow:\n    print(flow.state, flush=True)\n"
        )
        assert program.stdout is not None
        assert program.stdout.readline().startswith("True cannot create")
        assert program.stdout.readline() == "up\n"
        program.kill()
        eventually(host.quiet)
