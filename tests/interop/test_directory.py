"""The directory of a unicast layer with members of both implementations, over Ethernet: names are found both ways.

Without the prototype on PATH these are skipped. It asks layers only for names that its own registry has, and its first
queries are lost at times, so these are tried for a while. It gets no flow request before it has routes: one that it
cannot answer blocks its flow allocator for good (unicast.md 6.5).

What cannot be paced is a race within one command. While an IPCP of the prototype is bootstrapped or enrolled, its state
is INIT for a moment (unicast.md 1.2), which is what tells its main thread to leave the wait for signals and its other
threads to take no further command (shims.md 1.2, 1.4): it says "IPCP <pid> shutting down.", finishes bootstrapping, and
answers nothing any more. When the main thread misses that moment and the one that takes commands does not, it says
nothing, and does not answer a registration, for which it asks nobody (dht.md 1.1). One of these lines is the proof, and
nothing else makes a test begin anew.
"""

import json
import re
import time
from contextlib import ExitStack
from typing import Any

import pytest

from ouro_core.testing.host import eventually
from ouro_core.testing.netns import join

from .hosts import Done, InteropHost, OuroHost, PrototypeHost, prototype
from .lines import TABLES

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
ATTEMPTS = 4
"""How often the race may be lost."""


class Stopped(AssertionError):
    """An IPCP of the prototype took its own start for its end."""


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
                self.check()
                self._until(i, "ipcp", "connect", "name", f"n{i}", "dst", f"n{i - 1}")
            else:
                host.irm("ipcp", "bootstrap", "type", "unicast", "name", "n0", "layer", "net", "autobind")
                self.check()
        if len(self.ours) < len(self.hosts):
            time.sleep(TABLES)
        for i in self.ours:
            eventually(lambda i=i: self.dht(i)["state"]["usable"], WAIT, f"n{i} has contacts")  # type: ignore[misc]

    def check(self) -> None:
        """Stopped, if an IPCP of the prototype has."""
        for i, host in enumerate(self.hosts):
            found = re.search(r"IPCP \d+ shutting down|IPCP reg timed out", host.log())
            if i not in self.ours and found:
                raise Stopped(f"n{i}: {found[0]}, and nobody told it to stop\n{host.log()[-3000:]}")

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

    def _ping(self, i: int, name: str) -> Done:
        """The prototype's `oping` may wait for ever, ours ends by itself, but takes long to start on a busy machine."""
        if i in self.ours:
            return self.hosts[i].run("oping", "-n", name, "-c", "3", "-i", "20")
        return self.hosts[i].ping(name)

    def reaches(self, i: int, name: str) -> None:
        said = []
        for _ in range(6):
            done = self._ping(i, name)
            if " 3 received" in done.stdout:
                return
            said.append(f"{done.stdout}{done.stderr}".strip())
            time.sleep(2.0)  # the prototype has not always ended what failed
        logs = "".join(f"\n--- n{j}\n{host.log()[-3000:]}" for j, host in enumerate(self.hosts))
        raise AssertionError(f"n{i} does not reach {name}: {said}{logs}")


@pytest.mark.parametrize("kinds", ["c-ouro", "ouro-c", "ouro-c-ouro"])
def test_names_are_found_both_ways(kinds: str) -> None:
    """On other hosts when an IPCP of the prototype has stopped."""
    lost = []
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            layer = Layer(tuple(kinds.split("-")), stack)
            try:
                made(layer)
            except Stopped as e:
                lost.append(str(e))
                print(f"begun anew: {e}"[:80])
                continue
            found_by_ours(layer)
            reached(layer)
            return
    raise AssertionError("\n\n".join(lost))


def made(layer: Layer) -> None:
    """With its names. Stopped, if that is why it fails."""
    try:
        layer.build()
        for i in range(len(layer.hosts)):
            layer.register(i)
    except AssertionError:
        layer.check()
        raise


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
