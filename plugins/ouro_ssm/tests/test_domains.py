"""Trust domains: real processes of different users, what they can open, and how often their packets are copied."""

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ouro_core.contracts.packets import Event, FlowEnd
from ouro_core.contracts.programs import Group
from ouro_core.testing.packets.programs import dt

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")

ALICE, BOB = 12345, 12346
SEALED = 1 | 2 | 4


def pools_in(pid: int) -> set[str]:
    """Names of the segments that a process has mapped, or could map by a descriptor."""
    text = Path(f"/proc/{pid}/maps").read_text()
    text += "\n".join(os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return set(re.findall(r"memfd:(ouroboros\.\S+)", text))


# ---------------------------------------------------------------- who may open what


def test_memory_belongs_to_its_user_and_is_closed_to_others(host: Any) -> None:
    ours = host.client()
    for uid in (0, ALICE, BOB):
        ref = host.new_ref(uid)
        admitted = host.broker.admit(ref)
        granted = host.create(ours.ref, ref).grant(1)
        memory = [fd for fd in (*admitted.fds, *granted.fds) if "memfd:" in os.readlink(f"/proc/self/fd/{fd}")]
        assert len(memory) >= 3
        for fd in memory:
            status = os.fstat(fd)
            assert (status.st_uid, status.st_mode & 0o7777) in ((uid, 0o600), (0, 0o660 if not uid else 0o600))
            assert fcntl.fcntl(fd, 1034) & SEALED == SEALED
        host.broker.leave(ref, died=False)


def test_a_user_never_maps_the_shared_pool(host: Any) -> None:
    """Whoever is at the other end: root, or another process of his. His neighbours' memory is not there either."""
    end, alice = host.remote("echo", uid=ALICE)
    other, bob = host.remote("echo", uid=BOB)
    for each in (end, other):
        each.write(b"packet")
        assert each.read() == b"packet"
    for process, uid in ((alice, ALICE), (bob, BOB)):
        assert process.uid() == uid
        found = pools_in(process.pid)
        assert {name for name in found if "pool" in name} == {f"ouroboros.pool.{uid}"}
        assert len({name for name in found if "flow" in name}) == 1
    for each, process in ((end, alice), (other, bob)):
        each.close()
        process.finish()


def test_nobody_opens_the_memory_of_others_again(host: Any, tmp_path: Path) -> None:
    """A descriptor that was given for reading, as a mistake or by a friend, stays one for reading."""
    host.client()
    end, alice = host.remote("idle", uid=ALICE)
    other, bob = host.remote("reopen", uid=BOB)
    for uid in (ALICE, 0):
        fd = os.open(f"/proc/self/fd/{host.broker._domains[uid].fd}", os.O_RDONLY)
        bob.give(fd)
        os.close(fd)
        assert bob.hear() == {
            "read": True,
            "map for writing": "PermissionError",
            "write": "OSError",
            "open for writing": "PermissionError",
            "open for reading": "PermissionError",
        }
    bob.say()
    bob.finish()
    del end, other
    alice.kill()


def test_a_user_cannot_look_into_processes_of_others(host: Any) -> None:
    _end, alice = host.remote("idle", uid=ALICE)
    _other, bob = host.remote("look", alice.pid, uid=BOB)
    assert bob.hear() == {"descriptors": "PermissionError", "memory": "PermissionError"}
    bob.finish()
    alice.kill()


# ---------------------------------------------------------------- copies between pools (spec: ssm.md 2.1)


@pytest.mark.parametrize(
    ("source", "target", "copies"),
    [(0, 0, 0), (ALICE, ALICE, 0), (ALICE, BOB, 1), (ALICE, 0, 1), (0, ALICE, 1)],
)
def test_copies_by_who_moves_packets_without_a_mover(host: Any, source: int, target: int, copies: int) -> None:
    """A privileged process, which maps all of them: `recv` on one flow, `send` on the other."""
    between = host.client()
    writer, from_writer = host.flow(host.client(source), between)
    to_reader, reader = host.flow(between, host.client(target))
    for number in range(100):
        writer.write(b"%d" % number)
        to_reader.send(from_writer.recv())
        assert reader.read() == b"%d" % number
    assert to_reader.counters()["copied"] == 100 * copies
    assert not host.used()


@pytest.mark.parametrize("uid", [0, ALICE])
def test_copies_by_a_forwarder(host: Any, eventually: Callable[[Callable[[], object]], None], uid: int) -> None:
    """Both directions: none within the shared pool, one between it and a user's."""
    ipcp = host.client()
    lower, network = host.flow(host.client(), ipcp)
    app, end = host.flow(host.client(uid), ipcp)
    forwarder = ipcp.forwarder(dt(1, window=None))
    port = forwarder.add_network(network)
    forwarder.add_flow(64, end, destination=2, remote_eid=64)
    forwarder.set_routes(0, {2: Group((port,))})
    for number in range(50):
        app.write(b"%d" % number)
        packet = lower.read()
        header = packet[: -len(b"%d" % number)]
        assert packet[len(header) :] == b"%d" % number
        lower.write(_returned(header) + b"%d" % number)
        assert app.read() == b"%d" % number
    copies = 50 if uid else 0
    eventually(lambda: (network.counters()["copied"], end.counters()["copied"]) == (copies, copies))
    forwarder.stop()


def _returned(header: bytes) -> bytes:
    """The same header, to address 1."""
    return (1).to_bytes(4, "little") + header[4:]


def test_events_of_one_user_are_not_in_the_memory_of_another(host: Any) -> None:
    """One event set for each client and domain."""
    ours = host.client()
    ends: list[FlowEnd] = []
    inodes = []
    for uid in (ALICE, BOB, 0):
        user = host.client(uid)
        flow = host.create(ours.ref, user.ref)
        grant = flow.grant(1)
        inodes.append({os.fstat(fd).st_ino for fd in grant.fds if "events" in os.readlink(f"/proc/self/fd/{fd}")})
        ends.append(user.attach(*host.sent(grant)))
        ends.append(ours.attach(*host.sent(flow.grant(0))))
    assert not inodes[0] & inodes[1]
    assert not inodes[0] & inodes[2]
    events = ours.event_set()
    for end in ends[1::2]:
        events.add(end)
    ends[0].write(b"alice")
    assert events.wait(30.0) == [(ends[1], Event.PACKET)]
