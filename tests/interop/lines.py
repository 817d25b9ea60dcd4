"""Hosts in a line with a unicast layer across them, whoever's they are.

Host n has the devices `v0`, to the host before, and `v1`, to the one after. Each link is a layer of its own below, over
Ethernet or UDP; members are `n1`, `n2`, ... of the layer `uni`, each enrolled and connected with the one before.
"""

import subprocess
import time
from collections.abc import Sequence
from typing import Final

from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.host import eventually
from ouro_core.testing.netns import join

from .hosts import Done, InteropHost, OuroHost, PrototypeHost

__all__ = ["UNICAST", "Line", "Stuck"]

UNICAST: Final = "uni"
TABLES: Final = 12.0
"""Seconds until the prototype has routes. A flow request that comes before cannot be answered, and blocks its flow
allocator for good (unicast.md 6.5).
"""
SETTLING: Final = 90.0
"""Seconds until all is found: the prototype computes its tables every 4 s, and its directory takes up to 20 s."""
STUCK: Final = (
    "Failed to send flow allocation response packet", "IPCP alloc_resp timed out", "failed to boot",
    "Failed to open client socket", "IPCP reg timed out",
)  # fmt: skip
"""What the prototype says when it answers a flow request before it has stored who asked, also when that is another
prototype: its flow allocator never takes another request then (unicast.md 6.4, 6.5). When an IPCP of its own was
slow to start, or has crashed. And when one does not answer a registration, for which it asks nobody (dht.md 1.1): the
thread that takes its commands met the state INIT at the start, and left (unicast.md 1.2).
"""
ATTEMPTS: Final = 8


class Stuck(AssertionError):
    """A prototype of the line has said that it is at its end."""


class Line:
    """`hosts` are running. `below`: eth-dix, or udp4. `names`: those that the applications use: the prototype must have
    heard of a name before its layers are asked for it.
    """

    def __init__(self, hosts: Sequence[InteropHost], below: str = "eth-dix", names: Sequence[str] = ()) -> None:
        self.hosts = hosts
        self._below = below
        self._names = names

    def build(self) -> None:
        """Join the hosts, and make all members of the layer. AssertionError, Stuck."""
        try:
            self._build()
        except AssertionError as e:
            self.look_for_stuck()
            raise AssertionError(f"{e}{self._logs()}") from None

    def serve(self) -> None:
        """`oping` on each host, for a name of its own. AssertionError, Stuck."""
        try:
            for name, host in zip(self._names, self.hosts, strict=False):
                host.serve(name, UNICAST)
        except AssertionError:
            self.look_for_stuck()
            raise

    def _build(self) -> None:
        for left, right in zip(self.hosts, self.hosts[1:], strict=False):
            join(left.network, "v1", right.network, "v0")
        members = [f"n{n}" for n in range(1, len(self.hosts) + 1)]
        for host in self.hosts:
            if isinstance(host, PrototypeHost):
                for name in (UNICAST, *members, *self._names):
                    host.irm("name", "create", name)
        first = self.hosts[0]
        first.irm("ipcp", "bootstrap", "type", "unicast", "name", "n1", "layer", UNICAST, "autobind")
        for n in range(1, len(self.hosts)):
            self._link(n)
            here, before = self.hosts[n], members[n - 1]
            _again(here, "ipcp", "enroll", "name", members[n], "dst", before, "autobind")
            _again(here, "ipcp", "connect", "name", members[n], "dst", before)
        if any(isinstance(host, PrototypeHost) for host in self.hosts):
            time.sleep(TABLES)

    def _link(self, n: int) -> None:
        """The layer between host n and host n + 1, counted from 1, with both members in reach."""
        for host, member, other, device, number in (
            (self.hosts[n - 1], n, n + 1, "v1", 1), (self.hosts[n], n + 1, n, "v0", 2),
        ):  # fmt: skip
            words = ["dev", device]
            if self._below == "udp4":
                host.network.ip("addr", "add", f"10.97.{n}.{number}/24", "dev", device)
                words = ["ip", f"10.97.{n}.{number}"]
                peer = f"10.97.{n}.{3 - number}"
                if isinstance(host, OuroHost):
                    words += ["peers", f"n{other}={peer}"]
                elif isinstance(host, PrototypeHost):
                    host.resolve(f"{peer} {hash_name(f'n{other}', HashAlgorithm.MD5).hex()}\n")
            host.irm("ipcp", "bootstrap", "type", self._below, "name", f"l{n}", "layer", f"link{n}", *words)
            host.irm("name", "reg", f"n{member}", "layer", f"link{n}")

    def cut(self, n: int) -> None:
        """Take the link between host n and host n + 1 down, counted from 1, at both ends."""
        self._set(n, "down")

    def mend(self, n: int) -> None:
        """Bring it up again."""
        self._set(n, "up")

    def _set(self, n: int, state: str) -> None:
        self.hosts[n - 1].network.ip("link", "set", "v1", state)
        self.hosts[n].network.ip("link", "set", "v0", state)

    def pings(self, source: int, name: str, *options: str) -> Done:
        """Three of three from host `source`, counted from 1; again until it is so. AssertionError, Stuck."""
        last: list[Done] = []

        def good() -> bool:
            last.append(_ping(self.hosts[source - 1], name, options))
            if last[-1].returncode == 0 and " 3 received" in last[-1].stdout:
                return True
            self.look_for_stuck()
            return False

        try:
            eventually(good, SETTLING, f"host {source} reaches {name}")
        except Stuck:
            raise
        except AssertionError as e:
            raise AssertionError(f"{e}\n{last[-1].stdout}{last[-1].stderr}{self._logs()}") from None
        return last[-1]

    def _logs(self) -> str:
        return "".join(f"\n--- host {n}\n{host.log()[-5000:]}" for n, host in enumerate(self.hosts, 1))

    def look_for_stuck(self) -> None:
        """Stuck, if a prototype has said so."""
        for n, host in enumerate(self.hosts, 1):
            for words in STUCK:
                if isinstance(host, PrototypeHost) and words in host.log():
                    raise Stuck(f"host {n}, a prototype: {words}")


def _ping(host: InteropHost, name: str, options: Sequence[str]) -> Done:
    """Three packets, as long as it takes: a client that is killed while it asks blocks the prototype for good."""
    words = ("oping", "-n", name, "-c", "3", "-i", "100", *options)
    try:
        return host.run(*words)
    except subprocess.TimeoutExpired as e:
        return subprocess.CompletedProcess(words, -9, str(e.stdout or b""), "it took too long")


def _again(host: InteropHost, *words: str) -> None:
    """A command that the prototype fails at times: a first query for a name is lost in a race."""
    for _ in range(ATTEMPTS):
        if _done(host, words):
            return
        time.sleep(0.5)
    raise AssertionError(f"irm {' '.join(words)} fails")


def _done(host: InteropHost, words: Sequence[str]) -> bool:
    try:
        return host.run("irm", *words).returncode == 0
    except subprocess.TimeoutExpired:
        return False
