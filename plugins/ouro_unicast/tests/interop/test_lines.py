"""Three hosts in a line over Ethernet: the prototype as first, middle and last node, and ours alone."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from unicast_machines import Machine, Wire, eventually, prototype, unprivileged

pytest.importorskip("ouro_eth")
pytest.importorskip("ouro_dht")

LINES = {"COC": ("c", "ouro", "c"), "OCO": ("ouro", "c", "ouro"), "CCO": ("c", "c", "ouro"), "OCC": ("ouro", "c", "c"),
         "OOC": ("ouro", "ouro", "c"), "OOO": ("ouro", "ouro", "ouro")}  # fmt: skip


class Line:
    """Members n1, n2, n3 of the layer `uni`, over the Ethernet layers `etha` and `ethb`."""

    def __init__(self, machines: list[Machine], wires: list[Wire]) -> None:
        self.machines, self.wires = machines, wires

    def build(self) -> None:
        m1, m2, m3 = self.machines
        for machine in self.machines:
            for name in ("uni", "n1", "n2", "n3", "oping1", "oping2", "oping3") if machine.kind == "c" else ():
                machine.irm("name", "create", name)  # the prototype asks its layers for names that it knows only
        m1.irm("ipcp", "bootstrap", "type", "eth-dix", "name", "ea", "layer", "etha", "dev", "v1")
        m2.irm("ipcp", "bootstrap", "type", "eth-dix", "name", "ea", "layer", "etha", "dev", "v0")
        m1.irm("ipcp", "bootstrap", "type", "unicast", "name", "n1", "layer", "uni", "autobind")
        m1.irm("name", "reg", "n1", "layer", "etha")
        m2.irm("name", "reg", "n2", "layer", "etha")
        m2.irm("ipcp", "enroll", "name", "n2", "dst", "n1", "autobind")
        m2.irm("ipcp", "connect", "name", "n2", "dst", "n1")
        m2.irm("ipcp", "bootstrap", "type", "eth-dix", "name", "eb", "layer", "ethb", "dev", "v1")
        m3.irm("ipcp", "bootstrap", "type", "eth-dix", "name", "eb", "layer", "ethb", "dev", "v0")
        m2.irm("name", "reg", "n2", "layer", "ethb")
        m3.irm("name", "reg", "n3", "layer", "ethb")
        m3.irm("ipcp", "enroll", "name", "n3", "dst", "n2", "autobind")
        m3.irm("ipcp", "connect", "name", "n3", "dst", "n2")

    def pings(self, source: int, name: str, *words: str) -> None:
        """Three of three, after some tries: the prototype computes its tables every 4 s, its directory settles late."""
        last: list[subprocess.CompletedProcess[str]] = []

        def good() -> bool:
            last.append(self.machines[source].ping(name, *words))
            return last[-1].returncode == 0 and " 3 received" in last[-1].stdout

        try:
            eventually(good, 60, f"host {source + 1} reaches {name}", pause=1.0)
        except AssertionError as e:
            logs = "".join(f"\n--- host {m.number} ({m.kind})\n{m.text()}" for m in self.machines)
            raise AssertionError(f"{e}\n{last[-1].stdout}{last[-1].stderr}{logs}") from None


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    kinds = LINES[request.param]
    reason = prototype() if "c" in kinds else unprivileged()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        machines = []
        for number, kind in enumerate(kinds, 1):
            machines.append(Machine(number, kind))
            stack.callback(machines[-1].close)
        yield Line(machines, [Wire(machines[0], machines[1]), Wire(machines[1], machines[2])])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", LINES, indirect=True)
def test_everybody_reaches_everybody(line: Line) -> None:
    line.build()
    for number, machine in enumerate(line.machines, 1):
        machine.serve(f"oping{number}", "uni")
    line.pings(0, "oping3")
    line.pings(2, "oping1")
    line.pings(1, "oping1")
    line.pings(0, "oping2")
    line.pings(2, "oping2")
