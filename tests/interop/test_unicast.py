"""Unicast layers across three hosts in a line, with the prototype as first, middle and last node, and with ours alone.

Lines of ours alone need namespaces; the others are skipped without the prototype on PATH.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from ouro_core.testing.host import eventually
from ouro_core.testing.netns import unusable

from .cases import PROGRAMS
from .hosts import OuroHost, PrototypeHost
from .lines import Line

pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")

pytestmark = pytest.mark.timeout(400)
LINES: Final = ("COC", "OCO", "CCO", "OCC", "OOC", "COO")
NAMES: Final = tuple(f"oping{n}" for n in (1, 2, 3))


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """`request.param`: letters of hosts, C for the prototype's, and what is below."""
    letters, below = request.param
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
        for name, host in zip(NAMES, hosts, strict=True):
            host.serve(name, "uni")
        yield line


@pytest.mark.parametrize(
    "line", [(letters, "eth-dix") for letters in (*LINES, "OOO")] + [("OOO", "udp4"), ("COC", "udp4")], indirect=True,
    ids=lambda p: "-".join(p),
)  # fmt: skip
def test_everybody_reaches_everybody(line: Line) -> None:
    for source, name in ((1, "oping3"), (3, "oping1"), (2, "oping1"), (1, "oping2"), (2, "oping3"), (3, "oping2")):
        line.pings(source, name)
    line.pings(1, "oping3", "-s", "1400")


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
