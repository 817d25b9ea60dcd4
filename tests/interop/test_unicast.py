"""Unicast layers across three hosts in a line, with the prototype as first, middle and last node, and with ours alone.

Lines of ours alone need namespaces; the others are skipped without the prototype on PATH.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from ouro_core.testing.host import eventually
from ouro_core.testing.netns import unusable

from .cases import PROGRAMS
from .hosts import OuroHost, PrototypeHost
from .lines import Line, Stuck

pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")

pytestmark = pytest.mark.timeout(1200)
LINES: Final = ("COC", "OCO", "CCO", "OCC", "OOC", "COO")
WAYS: Final = ((1, "oping3"), (3, "oping1"), (2, "oping1"), (1, "oping2"), (2, "oping3"), (3, "oping2"))
ANEW: Final = 12
"""Lines with a prototype that gets stuck."""
NAMES: Final = tuple(f"oping{n}" for n in (1, 2, 3))


@contextmanager
def running(letters: str, below: str) -> Iterator[Line]:
    """`letters` of hosts, C for the prototype's; what is `below`. On each an `oping` serves a name of its own."""
    reason = unusable()
    if reason is None and "C" in letters and isinstance(PROGRAMS, str):
        reason = PROGRAMS
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(PrototypeHost(PROGRAMS) if letter == "C" and isinstance(PROGRAMS, dict) else OuroHost())
            for letter in letters
        ]
        line = Line(hosts, below, NAMES)
        line.build()
        line.serve()
        yield line


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """`request.param`: see `running`."""
    with running(*request.param) as line:
        yield line


def on_lines(letters: str, below: str, use: Callable[[Line], None]) -> None:
    """A prototype that gets stuck in a race of its own costs a new line."""
    stuck = []
    while len(stuck) < ANEW:
        try:
            with running(letters, below) as line:
                use(line)
                return
        except Stuck as e:
            stuck.append(str(e))
    raise AssertionError("\n".join(stuck))


@pytest.mark.parametrize(
    ("letters", "below"),
    [(letters, "eth-dix") for letters in (*LINES, "OOO")] + [("OOO", "udp4"), ("COC", "udp4")],
)
def test_everybody_reaches_everybody(letters: str, below: str) -> None:
    """Who has been reached has been reached, whatever becomes of the line."""
    left: list[tuple[int, str, tuple[str, ...]]] = [
        *((source, name, ()) for source, name in WAYS), (1, "oping3", ("-s", "1400")),
    ]  # fmt: skip

    def reach(line: Line) -> None:
        while left:
            source, name, options = left[0]
            line.pings(source, name, *options)
            del left[0]

    on_lines(letters, below, reach)


def test_congestion_is_reported_both_ways() -> None:
    """Ours floods the prototype, whose server sends everything back: each tells the other of its full queues."""
    flood = (
        "import time\n"
        "from ouro_core import flow_alloc\n"
        "with flow_alloc('oping2') as flow:\n"
        "    end = time.monotonic() + 2\n"
        "    while time.monotonic() < end:\n"
        "        flow.write(bytes(64))\n"
    )

    def use(line: Line) -> None:
        ours = line.hosts[0]
        assert isinstance(ours, OuroHost)
        told = ours.host.python(flood).communicate(timeout=60)[0]
        seen = ours.host.rib("ipcps/n1/member/allocator")
        if not (seen["updates_received"] and seen["updates_sent"]):
            line.look_for_stuck()
            raise AssertionError(f"{seen}\n{told}")

    on_lines("OC", "eth-dix", use)


@pytest.mark.parametrize("line", [("OOO", "eth-dix"), ("OOO", "udp4")], indirect=True, ids=lambda p: "-".join(p))
def test_a_link_is_cut_and_mended_under_traffic(line: Line) -> None:
    """The flow outlives it, and nobody is told to do anything."""
    line.pings(1, "oping3")
    host = line.hosts[0]
    assert isinstance(host, OuroHost)
    code = (
        "import time\n"
        "from ouro_core import flow_alloc\n"
        "from ouro_core.model.errors import OuroError\n"
        "with flow_alloc('oping3') as flow:\n"
        "    flow.read_timeout = 0.1\n"
        "    n, answered = 0, True\n"
        "    while True:\n"
        "        n += 1\n"
        "        flow.write(bytes(4) + n.to_bytes(4, 'big') + bytes(56))\n"
        "        try:\n"
        "            flow.read(); now = True\n"
        "        except OuroError:\n"
        "            now = False\n"
        "        if now is not answered or n == 1:\n"
        "            print('answered' if now else 'silent', flush=True); answered = now\n"
        "        time.sleep(0.02)\n"
    )
    traffic = host.host.python(code)
    assert traffic.stdout is not None
    assert traffic.stdout.readline() == "answered\n"
    line.cut(2)
    assert traffic.stdout.readline() == "silent\n"
    line.mend(2)
    assert traffic.stdout.readline() == "answered\n"
    traffic.kill()
    line.pings(3, "oping1")


@pytest.mark.parametrize("line", [("OOO", "eth-dix")], indirect=True, ids=lambda p: "-".join(p))
def test_tables_follow_a_link(line: Line) -> None:
    first = line.hosts[0]
    assert isinstance(first, OuroHost)

    def members() -> int:
        return len(first.host.rib("ipcps/n1/member/table").get("all", {}))

    eventually(lambda: members() == 2)
    line.cut(2)
    eventually(lambda: members() == 1, what="host 1 knows that host 3 is out of reach")
    line.mend(2)
    eventually(lambda: members() == 2, what="host 1 knows that host 3 is back")
