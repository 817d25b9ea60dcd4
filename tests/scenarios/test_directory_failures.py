"""Eight daemons in one unicast layer, some of which die, lie, or flood the others: names are found all the same."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ouro_core import Irm
from ouro_core.testing.host import Host, eventually

from .members import WAIT, Members, members_of
from .programs import ASK, ECHO

pytest.importorskip("ouro_udp")
pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")

DAEMONS = 8
HOSTILE = Path(__file__).with_name("hostile_member.py")
LIAR = 0x0BADF00D
"""Its address."""


def serve(members: Members, i: int, name: str) -> None:
    members.irms[i].create_name(name)
    members.irms[i].reg_name(name, f"m{i}")


def found(members: Members, i: int, name: str, home: int) -> None:
    """Wait until a member finds a name at another, and there first."""
    address = members.state(home)["address"]
    eventually(lambda: members.lookup(i, name)[:1] == [address], WAIT, f"{name} of m{home} is found from m{i}")


# ---------------------------------------------------------------- hostile


def memory(members: Members, i: int) -> int:
    """Bytes that the process of an IPCP has in memory."""
    pid = next(ipcp.pid for ipcp in members.irms[i].list_ipcps() if ipcp.name == f"m{i}")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.fixture(scope="module")
def besieged() -> Iterator[tuple[Members, Host]]:
    """A layer, with names, and a host of somebody who means ill."""
    with members_of(DAEMONS, "127.0.79") as members, Host() as evil:
        with Irm(evil.runtime / "irm.sock") as irm:
            members.lower(irm, DAEMONS)
        for i in range(DAEMONS):
            serve(members, i, f"honest-{i}")
        yield members, evil


@pytest.mark.timeout(180)
@pytest.mark.parametrize("word", ["nothing", "noise", "stores", "one_value", "strangers", "questions"])
def test_a_hostile_member(besieged: tuple[Members, Host], word: str) -> None:
    """10,000 messages a second to one member, and lies to all; the words are explained in the program."""
    members, evil = besieged
    target = 3
    addresses = [members.state(i)["address"] for i in range(DAEMONS)]
    before = memory(members, target)
    program = evil.spawn([sys.executable, str(HOSTILE), "m1", str(addresses[target]), word, "4"])
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    for turn in range(2):
        for i in range(DAEMONS):
            home = (i + 1 + turn) % DAEMONS
            eventually(
                lambda i=i, home=home: addresses[home] in members.lookup(i, f"honest-{home}"),
                WAIT,
                f"m{i} finds m{home}",
            )
    ended = program.communicate(timeout=60)[0]
    assert "sent " in ended, ended
    state, counters = members.state(target), members.dht(target, "counters")
    assert isinstance(counters, dict)
    assert memory(members, target) - before < 64 << 20
    assert state["contacts"] <= 64 * 8
    assert state["lookups"] <= 128
    if word in ("stores", "one_value"):
        assert counters["limited"] > 1000
    if word == "noise":
        assert len(counters["malformed"]) >= 4
    if word == "nothing":
        assert counters["unexpected"] or counters["malformed"]["own_address"]  # what came twice, and what came back
    for i in (target, 0):
        eventually(lambda i=i: addresses[6] in members.lookup(i, "honest-6"), WAIT, "afterwards")


@pytest.mark.timeout(180)
def test_a_member_that_claims_everything_and_answers_nothing() -> None:
    """It is first in the directory. A flow that cannot be had there is had where the name is, the next time."""
    with members_of(4, "127.0.82") as members, Host() as evil:
        with Irm(evil.runtime / "irm.sock") as irm:
            members.lower(irm, 4)
        serve(members, 3, "honest-3")
        server = members.hosts[3].python(ECHO, "honest-3")
        assert server.stdout is not None
        assert server.stdout.readline() == "bound\n"
        program = evil.spawn([sys.executable, str(HOSTILE), "m1", "0", "claims", "120"])
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        there = {LIAR, members.state(3)["address"]}
        eventually(lambda: [a for a in members.lookup(0, "honest-3") if a in there][:1] == [LIAR], WAIT, "it is first")
        client = [sys.executable, "-c", ASK, "honest-3", "5"]
        eventually(lambda: members.hosts[0].run(client).stdout == "layer\n", WAIT, "a flow to the name")


# ---------------------------------------------------------------- much at once, and deaths


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    """Every member is connected to two others at least, so that nobody is cut off by the death of one."""
    with members_of(DAEMONS, "127.0.80") as made:
        for i in range(DAEMONS):
            made.irms[i].connect_ipcp(f"m{i}", f"m{(i + 1) % DAEMONS}")
        yield made


@pytest.mark.timeout(180)
def test_a_thousand_names_of_one_member(members: Members) -> None:
    for i in range(1000):
        serve(members, 5, f"mass-{i}")
    for i in range(0, 1000, 40):
        found(members, (i // 40) % 5, f"mass-{i}", 5)
    assert members.state(5)["names"] == 1000
    eventually(lambda: members.state(6)["values"] >= 1000, WAIT, "a neighbour holds them")


@pytest.mark.timeout(180)
def test_a_name_that_moves_to_another_member(members: Members) -> None:
    serve(members, 1, "moving")
    found(members, 4, "moving", 1)
    members.irms[1].unreg_name("moving", "m1")
    serve(members, 2, "moving")
    for i in (0, 1, 4, 7):
        found(members, i, "moving", 2)


@pytest.mark.timeout(180)
def test_names_come_and_go_while_others_look_for_them(members: Members) -> None:
    names = [f"fleeting-{i}" for i in range(20)]
    for name in names:
        serve(members, 3, name)
    for name in names:
        found(members, 6, name, 3)
    failures: list[Exception] = []
    over = threading.Event()

    def ask(i: int) -> None:
        try:
            while not over.is_set():
                for name in names:
                    members.lookup(i, name)
        except Exception as e:
            failures.append(e)

    askers = [threading.Thread(target=ask, args=(i,)) for i in (0, 4, 6)]
    for asker in askers:
        asker.start()
    for name in names:
        members.irms[3].unreg_name(name, "m3")
        time.sleep(0.02)
    over.set()
    for asker in askers:
        asker.join(WAIT)
    assert not failures
    for i in (0, 3, 6):
        for name in names:
            eventually(lambda i=i, name=name: not members.lookup(i, name), WAIT / 2, f"m{i} forgets {name}")


@pytest.mark.timeout(300)
def test_the_enrolment_peer_dies_and_three_more_at_once_and_one_comes_back(members: Members) -> None:
    """m0 enrolled m1 and m2; it is killed, then m4, m5, m7. What the others have is found, what comes later too. m5
    comes back under another address, and its name is found there, whatever others still hold.
    """
    for i in range(DAEMONS):
        serve(members, i, f"home-{i}")
    members.hosts[0].kill()
    alive = set(range(1, DAEMONS))
    serve(members, 1, "after-one")
    for i in alive:
        for home in alive - {i}:
            found(members, i, f"home-{home}", home)
        if i != 1:
            found(members, i, "after-one", 1)
    for i in (4, 5, 7):
        members.hosts[i].kill()
    alive -= {4, 5, 7}
    serve(members, 6, "after-four")
    for i in alive:
        for home in alive - {i}:
            found(members, i, f"home-{home}", home)
        if i != 6:
            found(members, i, "after-four", 6)
    old = members.lookup(3, "home-5")
    assert old
    members.hosts[5].start()
    with Irm(members.hosts[5].runtime / "irm.sock") as again:
        members.irms[5] = again
        members.lower(again, 5)
        again.create_ipcp("m5", "unicast")
        again.bind_ipcp("m5", "m5")
        again.reg_name("m5", "udp")
        members.join(5)
        assert members.state(5)["address"] not in old
        serve(members, 5, "home-5")
        for i in alive:
            found(members, i, "home-5", 5)
