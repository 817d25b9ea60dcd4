"""Daemons that are the members of one unicast layer, over UDP on the loopback interface."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ouro_core import Irm
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.host import Host, eventually

__all__ = ["WAIT", "Members", "members_of"]

WAIT = 60.0


class Members:
    """Daemons, each with a member `m<number>` of the layer `net`, in a tree: member n is connected to (n - 1) // 2. All
    have addresses in `net`, the first three bytes of one.
    """

    def __init__(self, hosts: Sequence[Host], net: str) -> None:
        self.hosts = list(hosts)
        self.irms = [Irm(host.runtime / "irm.sock") for host in hosts]
        self._net, self._port = net, 20_000 + os.getpid() * 11 % 20_000

    def lower(self, irm: Irm, number: int) -> None:
        """An IPCP `udp` for a host, with whose help it finds all members."""
        everybody = ",".join(f"m{i}={self._net}.{i + 1}" for i in range(len(self.hosts)))
        options = {"ip": f"{self._net}.{number + 1}", "port": self._port, "peers": everybody}
        irm.autoboot("udp", "udp4", "lower", options, bind=False)

    def build(self) -> None:
        for i, irm in enumerate(self.irms):
            self.lower(irm, i)
            irm.create_ipcp(f"m{i}", "unicast")
            irm.bind_ipcp(f"m{i}", f"m{i}")
            irm.reg_name(f"m{i}", "udp")
            if i == 0:
                irm.bootstrap_ipcp("m0", "net", {"dht_t_refresh": 60})
            else:
                self.join(i)
        for i in range(len(self.hosts)):
            eventually(lambda i=i: self.state(i)["usable"] >= len(self.hosts) - 1, WAIT, f"member {i} knows the others")

    def join(self, i: int) -> None:
        """Enrol a member with the one above it, and connect it to that."""
        self.irms[i].enroll_ipcp(f"m{i}", f"m{(i - 1) // 2}")
        self.irms[i].connect_ipcp(f"m{i}", f"m{(i - 1) // 2}")

    def dht(self, i: int, path: str) -> object:
        return self.irms[i].rib_read(f"ipcps/m{i}/member/directory/dht/{path}")

    def state(self, i: int) -> dict[str, int]:
        found = self.dht(i, "state")
        assert isinstance(found, dict)
        return found

    def lookup(self, i: int, name: str) -> list[int]:
        """Addresses that a lookup through a member gives."""
        key = hash_name(name, HashAlgorithm.SHA3_256).hex()
        report = self.irms[i].ask_ipcp(f"m{i}", "directory", "lookup", key)
        return [v["address"] for v in report["values"] or report["held_here"]]


@contextmanager
def members_of(count: int, net: str) -> Iterator[Members]:
    """So many, known to each other."""
    with ExitStack() as stack:
        made = Members([stack.enter_context(Host()) for _ in range(count)], net)
        for irm in made.irms:
            stack.enter_context(irm)
        made.build()
        yield made
