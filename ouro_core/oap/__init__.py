"""The Ouroboros Allocation Protocol, sans-IO: what the IRMs of client and server say to each other, piggybacked on the
request and the response of every flow allocation.

A client prepares a request and completes with the response; a server processes a request in one step. One round trip
gives the allocation an id that cannot be replayed, the applications' data, and, when configured, authentication of
either side and a key for the flow. The algorithms are suites (`ouro_core.contracts.crypto`); this package only chooses
among them. Source: oap.md.

A message that names a cipher or digest which neither the protocol's tables nor a plugin know is undecodable (EAUTH).
One that names a known algorithm which has no suite here, or asks for a key exchange that no suite takes, cannot be
served (ECRYPT), unless the name is of no consequence: cipher and kdf without a key exchange are ignored. A certificate
that no authenticator takes is no certificate of ours (EAUTH).
"""

from .client import OapClient, OapContext
from .jobs import Answer, Complete, OapJob, Prepare, shows_certificate
from .policy import HYBRID, asks_peer, towards
from .replay import ReplayGuard
from .security import PLAIN, Encryption, KemMode, OapResult, PqPolicy, Security
from .server import OapRequest, OapServer, answer
from .suites import OapSuites, SuiteTable
from .trace import header_lines, message_lines

__all__ = [
    "HYBRID",
    "PLAIN",
    "Answer",
    "Complete",
    "Encryption",
    "KemMode",
    "OapClient",
    "OapContext",
    "OapJob",
    "OapRequest",
    "OapResult",
    "OapServer",
    "OapSuites",
    "PqPolicy",
    "Prepare",
    "ReplayGuard",
    "Security",
    "SuiteTable",
    "answer",
    "asks_peer",
    "header_lines",
    "message_lines",
    "shows_certificate",
    "towards",
]
