"""Registration and look-up at a name server: dynamic updates and queries (RFC 2136, RFC 1035; spec: shims.md 5.5).

The 32 hexadecimal digits of a hash are the whole name of a host; nothing is appended. Which zone it is in, the server
says. An answer counts only if it comes from the server, has the number of the question, repeats it, and gives an
address that can be one host's; a forged or senseless one is passed over, and the time runs on.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.update
from attrs import frozen

from ouro_core.model.errors import FlowTimeout, IpcpError

from .addresses import Address

__all__ = ["TTL", "Found", "NameServer"]

TTL: Final = 86400
"""Of the records we make, seconds."""
ASKING: Final = (0.15, 0.35, 1.0)
"""Seconds that each try of a question waits; together they are the longest look-up."""
UPDATING: Final = (0.5, 1.0, 1.5)
"""The same for updates."""


@frozen
class Found:
    """What the server knows: where a name is, and for how many seconds that holds."""

    addresses: tuple[Address, ...]
    ttl: int


class NameServer:
    """The one server of a layer's member. `own` is what names are registered at, `at` where the server is."""

    def __init__(self, at: Address, own: Address, asking: Sequence[float] = ASKING) -> None:
        self.at = at
        self._asking = asking
        self._own = own
        self._family = own.family

    async def find(self, hash: bytes) -> Found | None:
        """Where a name is; None: the server says that it does not exist. IpcpError: it says nothing of use;
        FlowTimeout: nothing at all.
        """
        name = _name(hash)
        answer = await self._ask(dns.message.make_query(name, self._family.record), self._asking)
        if answer.rcode() == dns.rcode.NXDOMAIN:
            return None
        self._must(answer, f"the question for {name}", "it must answer for names without a domain")
        if not isinstance(answer, dns.message.QueryMessage):
            raise IpcpError(f"name server {self.at} answers nonsense about {name}: it is no answer to a question")
        try:
            chain = answer.resolve_chaining()
        except dns.exception.DNSException as e:
            raise IpcpError(f"name server {self.at} answers nonsense about {name}: {e}") from None
        if chain.answer is None:
            return None
        addresses, faults = [], []
        for record in chain.answer:
            try:
                addresses.append(self._address(record.address))
            except ValueError as e:
                faults.append(f"{record.address} {e}")
        if not addresses:
            raise IpcpError(f"name server {self.at} says that {name} is where nobody can be: {faults[0]}")
        return Found(tuple(addresses), chain.minimum_ttl)

    def _address(self, text: str) -> Address:
        return self._family.parse(text, self._own.scope)  # a record has no zone: ours is the one link we are on

    async def add(self, hash: bytes) -> None:
        """Register a name at our address; again does no harm. IpcpError, FlowTimeout."""
        update = dns.update.UpdateMessage(await self._zone(hash))
        update.add(_name(hash), TTL, self._family.record, self._own.host)
        await self._update(update, f"registration of {hash.hex()}")

    async def remove(self, hash: bytes) -> None:
        """Remove a name from our address, and from no other. IpcpError, FlowTimeout."""
        update = dns.update.UpdateMessage(await self._zone(hash))
        update.delete(_name(hash), self._family.record, self._own.host)
        await self._update(update, f"removal of {hash.hex()}")

    # ------------------------------------------------------------ parts

    async def _zone(self, hash: bytes) -> dns.name.Name:
        """The zone that a name is in, whether the name exists or not."""
        name = _name(hash)
        answer = await self._ask(dns.message.make_query(name, "SOA"), self._asking)
        if answer.rcode() != dns.rcode.NXDOMAIN:
            self._must(answer, f"the question for the zone of {name}", "it must answer for names without a domain")
        for rrset in (*answer.answer, *answer.authority):
            if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                return rrset.name
        raise IpcpError(f"name server {self.at} does not say which zone {name} is in; it needs one for the root")

    async def _update(self, update: dns.update.UpdateMessage, what: str) -> None:
        answer = await self._ask(update, UPDATING)
        zone = update.zone[0].name
        self._must(answer, what, f"it must be the primary server of the zone {zone} and allow updates from here")

    def _must(self, answer: dns.message.Message, what: str, advice: str) -> None:
        if answer.rcode() != dns.rcode.NOERROR:
            raise IpcpError(f"name server {self.at} refused {what}: {dns.rcode.to_text(answer.rcode())}; {advice}")

    async def _ask(self, message: dns.message.Message, waits: Sequence[float]) -> dns.message.Message:
        for wait in waits:
            try:
                answer, _ = await dns.asyncquery.udp_with_fallback(
                    message, self.at.ip, timeout=wait, port=self.at.port, ignore_unexpected=True, ignore_errors=True
                )
            except dns.exception.Timeout:
                continue
            except dns.exception.DNSException as e:
                raise IpcpError(f"name server {self.at} answers nonsense: {e}") from None
            except (OSError, EOFError) as e:
                self._unreachable(e)
            return answer
        raise FlowTimeout(f"name server {self.at} did not answer within {sum(waits):g} s; is it running?")

    def _unreachable(self, error: OSError | EOFError) -> NoReturn:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise IpcpError(f"name server {self.at} cannot be reached: {why}") from None


def _name(hash: bytes) -> dns.name.Name:
    return dns.name.from_text(hash.hex())
