"""The directory of a unicast layer with members of both implementations, over Ethernet: names are found both ways.

Without the prototype on PATH these are skipped. It asks layers only for names that its own registry has, computes
routes every 4 s, and its first queries are lost at times; so everything is tried for a while.
"""

import json
import time
from contextlib import ExitStack
from typing import Any

import pytest

from ouro_core.testing.host import eventually
from ouro_core.testing.netns import join

from .hosts import InteropHost, OuroHost, PrototypeHost, prototype

pytest.importorskip("ouro_eth")
pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")

PROGRAMS = prototype()
pytestmark = [
    pytest.mark.skipif(isinstance(PROGRAMS, str), reason=f"no prototype to talk to: {PROGRAMS}"),
    pytest.mark.timeout(600),
]
NAMES = 3
WAIT = 60.0
ATTEMPTS = 3


class Layer:
    """Members n0, n1, ... of the layer `net`, in a line; `kinds` are "c" and "ouro"."""

    def __init__(self, kinds: tuple[str, ...], stack: ExitStack) -> None:
        assert not isinstance(PROGRAMS, str)
        self.hosts: list[InteropHost] = []
        for kind in kinds:
            host = PrototypeHost(PROGRAMS) if kind == "c" else OuroHost()
            self.hosts.append(stack.enter_context(host))
        self.ours = [i for i, kind in enumerate(kinds) if kind == "ouro"]
        self.served: dict[str, int] = {}

    def build(self) -> None:
        everything = [f"n{i}" for i in range(len(self.hosts))] + ["net"]
        for i, host in enumerate(self.hosts):
            if i not in self.ours:
                for name in everything:
                    host.irm("name", "create", name)
            if i:
                link = f"e{i}"
                join(self.hosts[i - 1].network, f"{link}a", host.network, f"{link}b")
                for one, device in ((self.hosts[i - 1], f"{link}a"), (host, f"{link}b")):
                    one.irm("ipcp", "bootstrap", "type", "eth-dix", "name", link, "layer", link, "dev", device)
                self._until(i - 1, "name", "reg", f"n{i - 1}", "layer", link)
                self._until(i, "ipcp", "enroll", "name", f"n{i}", "dst", f"n{i - 1}", "autobind")
                self._until(i, "ipcp", "connect", "name", f"n{i}", "dst", f"n{i - 1}")
            else:
                host.irm("ipcp", "bootstrap", "type", "unicast", "name", "n0", "layer", "net", "autobind")
        for i in self.ours:
            eventually(lambda i=i: self.dht(i)["state"]["usable"], WAIT, f"n{i} has contacts")  # type: ignore[misc]

    def _until(self, i: int, *words: str) -> None:
        """A command that may have to be given again: first queries are lost at times."""
        eventually(lambda: self.hosts[i].run("irm", *words).returncode == 0, WAIT, " ".join(words))

    def register(self, i: int) -> None:
        for number in range(NAMES):
            name = f"name{i}.{number}"
            for j, host in enumerate(self.hosts):
                if j != i and j not in self.ours:
                    host.irm("name", "create", name)
            if number:
                self.hosts[i].irm("name", "create", name)
                self.hosts[i].irm("name", "register", name, "layer", "net")
            else:
                self.hosts[i].serve(name, "net")
            self.served[name] = i

    def dht(self, i: int) -> Any:
        done = self.hosts[i].run("ouro", "dht", "show", f"n{i}", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {"state": {"usable": 0}, "contacts": []}

    def lookup(self, i: int, name: str) -> int:
        """How many addresses one of ours finds."""
        done = self.hosts[i].run("ouro", "dht", "lookup", f"n{i}", name, "--json")
        report = json.loads(done.stdout) if done.returncode == 0 else {"values": [], "held_here": []}
        return len(report["values"] or report["held_here"])

    def reaches(self, i: int, name: str) -> None:
        said = []
        for _ in range(6):
            done = self.hosts[i].ping(name)
            if " 3 received" in done.stdout:
                return
            said.append(f"{done.stdout}{done.stderr}".strip())
            time.sleep(2.0)  # the prototype has not always ended what failed
        logs = "".join(f"\n--- n{j}\n{host.log()[-3000:]}" for j, host in enumerate(self.hosts))
        raise AssertionError(f"n{i} does not reach {name}: {said}{logs}")


@pytest.mark.parametrize("kinds", ["c-ouro", "ouro-c", "ouro-c-ouro"])
def test_names_are_found_both_ways(kinds: str) -> None:
    """With other hosts when it fails: the prototype's IPCPs stop to take commands, or flows, at times."""
    seen = []
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            layer = Layer(tuple(kinds.split("-")), stack)
            try:
                layer.build()
                for i in range(len(layer.hosts)):
                    layer.register(i)
                found_by_ours(layer)
                reached(layer)
            except AssertionError as e:
                seen.append(str(e))
            else:
                return
    raise AssertionError("\n\n".join(seen))


def found_by_ours(layer: Layer) -> None:
    """Every name, by every member of ours; and they know whom they talk to."""
    for name, home in layer.served.items():
        for i in layer.ours:
            if i != home:
                eventually(lambda i=i, name=name: layer.lookup(i, name), WAIT, f"n{i} finds {name}")  # type: ignore[misc]
    for i in layer.ours:
        shown = layer.dht(i)
        assert shown["state"]["helping"]
        assert {c["ouro"] for c in shown["contacts"]} >= {False}
        assert not shown["counters"]["malformed"]


def reached(layer: Layer) -> None:
    """Flows: from the prototype's hosts to names of ours, and from one of ours to theirs."""
    theirs = [i for i in range(len(layer.hosts)) if i not in layer.ours]
    for name, home in layer.served.items():
        if name.endswith(".0"):
            for i in theirs if home in layer.ours else layer.ours[:1]:
                layer.reaches(i, name)
