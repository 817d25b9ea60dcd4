"""The three steps of an exchange as values, so that the slow ones can be done in another process.

A job depends on what is in it and on the suites alone. It and its result are picklable.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from attrs import field, frozen

from ouro_core.wire.oap import HEADER_SIZE

from .client import OapClient, OapContext
from .security import OapResult, Security
from .server import OapRequest, answer, kex_of
from .suites import OapSuites

__all__ = ["Answer", "Complete", "OapJob", "Prepare", "shows_certificate"]

R = TypeVar("R")


class OapJob(ABC, Generic[R]):
    """One step of an exchange."""

    @abstractmethod
    def slow(self, suites: OapSuites) -> bool:
        """Whether a signature, or a key exchange that is not `quick`, may have to be made or checked: a millisecond, or
        many. Raises what `run` would.
        """

    @abstractmethod
    def run(self, suites: OapSuites) -> R:
        """Do it. Raises what the step raises."""


@frozen
class Prepare(OapJob[OapContext]):
    """`OapClient.prepare`."""

    dst: str
    data: bytes
    now: int
    security: Security

    def slow(self, suites: OapSuites) -> bool:
        return self.security.credentials is not None or _slow_exchange(suites, self.security)

    def run(self, suites: OapSuites) -> OapContext:
        return OapClient(suites).prepare(self.dst, self.data, self.now, self.security)


@frozen
class Answer(OapJob[tuple[bytes, OapResult]]):
    """`answer`, for a request that was admitted."""

    request: OapRequest
    data: bytes
    now: int
    security: Security

    def slow(self, suites: OapSuites) -> bool:
        asked = self.request.header
        if asked.certificate or self.security.credentials is not None:
            return True
        return bool(asked.kex) and (asked.client_encaps or not kex_of(suites, asked).quick)

    def run(self, suites: OapSuites) -> tuple[bytes, OapResult]:
        return answer(suites, self.request, self.data, self.now, self.security)


@frozen
class Complete(OapJob[OapResult]):
    """`OapClient.complete`."""

    context: OapContext
    response: bytes = field(repr=False)
    now: int

    def slow(self, suites: OapSuites) -> bool:
        return shows_certificate(self.response) or _slow_exchange(suites, self.context.security)

    def run(self, suites: OapSuites) -> OapResult:
        return OapClient(suites).complete(self.context, self.response, self.now)


def _slow_exchange(suites: OapSuites, security: Security) -> bool:
    return security.encryption is not None and not suites.kexes.named(security.encryption.kex).quick


def shows_certificate(message: bytes) -> bool:
    """Whether a message, not decoded yet, has a certificate in it (crt_len, spec: oap.md 2)."""
    return len(message) >= HEADER_SIZE and message[30:32] != b"\0\0"
