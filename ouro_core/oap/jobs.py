"""The three steps of an exchange as values, so that the slow ones can be done in another process.

A job depends on what is in it and on the suites alone. It and its result are picklable.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from attrs import field, frozen

from ouro_core.wire.oap import HEADER_SIZE

from .client import OapClient, OapContext
from .security import OapResult, Security
from .server import OapRequest, answer
from .suites import OapSuites

__all__ = ["Answer", "Complete", "OapJob", "Prepare", "shows_certificate"]

R = TypeVar("R")


class OapJob(ABC, Generic[R]):
    """One step of an exchange."""

    @property
    @abstractmethod
    def slow(self) -> bool:
        """Whether a signature or a key exchange may have to be made or checked: a millisecond, or many."""

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

    @property
    def slow(self) -> bool:
        return self.security.encryption is not None or self.security.credentials is not None

    def run(self, suites: OapSuites) -> OapContext:
        return OapClient(suites).prepare(self.dst, self.data, self.now, self.security)


@frozen
class Answer(OapJob[tuple[bytes, OapResult]]):
    """`answer`, for a request that was admitted."""

    request: OapRequest
    data: bytes
    now: int
    security: Security

    @property
    def slow(self) -> bool:
        asked = self.request.header
        return bool(asked.certificate or asked.kex) or self.security.credentials is not None

    def run(self, suites: OapSuites) -> tuple[bytes, OapResult]:
        return answer(suites, self.request, self.data, self.now, self.security)


@frozen
class Complete(OapJob[OapResult]):
    """`OapClient.complete`."""

    context: OapContext
    response: bytes = field(repr=False)
    now: int

    @property
    def slow(self) -> bool:
        security = self.context.security
        return security.encryption is not None or shows_certificate(self.response)

    def run(self, suites: OapSuites) -> OapResult:
        return OapClient(suites).complete(self.context, self.response, self.now)


def shows_certificate(message: bytes) -> bool:
    """Whether a message, not decoded yet, has a certificate in it (crt_len, spec: oap.md 2)."""
    return len(message) >= HEADER_SIZE and message[30:32] != b"\0\0"
