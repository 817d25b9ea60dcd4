"""Where a name is: the layer's directory, without a thread of its own and without making anybody wait.

Theory of operation. Sources are asked in this order, and the first that knows the name decides: peers that the
configuration names, the hosts file, then the name server; what none of them knows is at the peer without a name. With
neither such a peer nor a name server it is the resolver of this machine that is asked (getaddrinfo, so /etc/hosts, mDNS
and DNS as they are set up here). Peers and hosts file are looked at anew each time and cost nothing. A look-up
elsewhere is a task that goes on when whoever asked has lost patience (the IRM waits 200 ms), and that all share who ask
for the same hash meanwhile; `learn` is told what it finds, and for how many seconds that holds.

getaddrinfo cannot be interrupted, so it runs in threads that do not hold the process back when it ends, a few at most.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Final

from ouro_core.model.errors import ConfigError, FlowTimeout, IpcpError

from .addresses import Address, Family
from .config import UdpConfig
from .nameserver import Found, NameServer
from .static import HostsFile

__all__ = ["Resolver"]

GOOD_FOR: Final = 60.0
"""Seconds that an answer of the machine's resolver is kept; it does not say how long it holds."""
LONGEST: Final = 5.0
"""Seconds that the machine's resolver has."""
THREADS: Final = 8
"""Look-ups by it at one time."""
LEAST: Final = 5.0
"""Seconds that any answer is kept: as long as an allocation may need it."""
FOREVER: Final = 7 * 86400.0
"""The longest."""


class Resolver:
    """One member's view of who is where. `warn` is told what needs attention."""

    def __init__(
        self, config: UdpConfig, learn: Callable[[bytes, Address, float], None], warn: Callable[[str], None]
    ) -> None:
        """ConfigError: the hosts file cannot be used."""
        self._family = config.ip.family
        self._port = config.port
        self._peers = config.peers
        self._hosts = HostsFile(config.hosts, self._family, config.ip.scope) if config.hosts else None
        if self._hosts is not None:
            self._hosts.read()
        self.server = None
        if config.dns is not None:
            self.server = NameServer(config.dns.with_port(config.dns_port), config.ip)
        self._fault = ""  # of the hosts file, when it was looked at last
        self._learn = learn
        self._warn = warn
        self._asked: dict[bytes, asyncio.Task[Address | None]] = {}
        self._threads = asyncio.Semaphore(THREADS)

    async def find(self, hash: bytes) -> Address | None:
        """Where the member with this name is, by a look-up; None: there is none. FlowTimeout, IpcpError: nobody can
        say.
        """
        task = self._asked.get(hash)
        if task is None:
            task = self._asked[hash] = asyncio.create_task(self._ask(hash), name=f"look-up of {hash.hex()}")
            task.add_done_callback(lambda done: self._answered(hash, done))
        return await asyncio.shield(task)

    async def register(self, hash: bytes) -> None:
        """Tell the name server, if there is one. FlowTimeout, IpcpError."""
        if self.server is not None:
            await self.server.add(hash)

    async def unregister(self, hash: bytes) -> None:
        """The reverse."""
        if self.server is not None:
            await self.server.remove(hash)

    def view(self) -> dict[str, object]:
        """For the RIB."""
        return {
            "dns": str(self.server.at) if self.server is not None else "",
            "hosts": {"file": str(self._hosts.path), "names": len(self._hosts)} if self._hosts is not None else {},
            "peers": str(self._peers),
            "looking_up": len(self._asked),
        }

    def close(self) -> None:
        """Look-ups end."""
        for task in list(self._asked.values()):
            task.cancel()

    # ------------------------------------------------------------ sources

    def static(self, hash: bytes) -> Address | None:
        """Where it is without asking anybody; None: not known so."""
        found = self._peers.by_hash.get(hash)
        if found is None and self._hosts is not None:
            self._read_again(self._hosts)
            found = self._hosts.find(hash)
        if found is None and self.server is None:
            found = self._peers.other
        return None if found is None else found.with_port(self._port)

    def _read_again(self, hosts: HostsFile) -> None:
        fault = ""
        try:
            hosts.read()
        except ConfigError as e:
            fault = str(e)
        if fault and fault != self._fault:  # not with each look-up
            self._warn(fault)
        self._fault = fault

    async def _ask(self, hash: bytes) -> Address | None:
        found = await (self._by_machine(hash) if self.server is None else self.server.find(hash))
        if found is None:
            return None if self._peers.other is None else self._peers.other.with_port(self._port)
        address = found.addresses[0].with_port(self._port)
        self._learn(hash, address, max(LEAST, min(found.ttl, FOREVER)))
        return address

    def _answered(self, hash: bytes, task: "asyncio.Task[Address | None]") -> None:
        del self._asked[hash]
        error = None if task.cancelled() else task.exception()
        if error is not None:  # whoever asked may not be there any more
            self._warn(f"Could not resolve {hash.hex()}: {error}")

    async def _by_machine(self, hash: bytes) -> Found | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found | None] = loop.create_future()
        await self._threads.acquire()

        def tell(found: Found | None, error: Exception | None) -> None:
            self._threads.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def work() -> None:
            found, error = None, None
            try:
                found = _getaddrinfo(hash, self._family)
            except Exception as e:
                error = e
            try:
                loop.call_soon_threadsafe(tell, found, error)
            except RuntimeError:
                pass  # the loop is closed, and nobody waits

        threading.Thread(target=work, name="ouro-udp look-up", daemon=True).start()
        try:
            async with asyncio.timeout(LONGEST):
                return await answer
        except TimeoutError:
            raise FlowTimeout(
                f"the resolver of this machine did not answer within {LONGEST:g} s about {hash.hex()}"
            ) from None


def _getaddrinfo(hash: bytes, family: Family) -> Found | None:
    """Blocks. None: there is no such host."""
    try:
        answers = socket.getaddrinfo(hash.hex(), None, family.af, socket.SOCK_DGRAM)
    except socket.gaierror as e:
        if e.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
            return None
        raise IpcpError(f"the resolver of this machine does not know about {hash.hex()}: {e.strerror}") from None
    for *_, sockaddr in answers:
        scope = sockaddr[3] if len(sockaddr) == 4 else 0
        host = str(sockaddr[0]).partition("%")[0]
        try:
            return Found((family.parse(f"{host}%{scope}" if scope else host),), int(GOOD_FOR))
        except ValueError as e:
            fault = f"{host} {e}"
    raise IpcpError(f"the resolver of this machine says that {hash.hex()} is where nobody can be: {fault}")
