"""OAP in the IRM: exchanges with the security files as they are now, slow steps by workers, and what the log says.

Every failure is one line in the log, at level PP every header (spec: oap.md 10).
"""

import time
from collections.abc import Hashable
from typing import Final

from attrs import evolve

from ..model.capability import Capability
from ..model.errors import CryptError, OuroError
from ..model.irm_requests import FlowAlloc
from ..model.log import PP, logger
from ..oap import (
    Answer,
    Complete,
    OapContext,
    OapResult,
    OapServer,
    OapSuites,
    Prepare,
    ReplayGuard,
    Security,
    asks_peer,
    message_lines,
    shows_certificate,
    towards,
)
from ..plugins import PluginHost
from .registry import Name, Registry, Waiter
from .security import SecurityFiles, Side
from .workers import WorkerPool

__all__ = ["Exchanges"]

log = logger("irmd")
oap_log = logger("irmd/oap")
_ASKING: Final = "Cannot ask for a flow to"


class Exchanges:
    """Those of one IRM. A `peer` is who makes us work (`workers.py`)."""

    def __init__(
        self,
        registry: Registry,
        suites: OapSuites,
        security: SecurityFiles,
        workers: WorkerPool,
        plugins: PluginHost,
    ) -> None:
        self.suites = suites
        self.refused = 0
        self._registry = registry
        self._security = security
        self._workers = workers
        self._plugins = plugins
        self._server = OapServer(suites, ReplayGuard())

    def security(self, dst: str) -> Security:
        """What a client of this name has to keep to. CryptError, AuthenticationFailed."""
        try:
            return self._configured(Side.CLIENT, dst)
        except OuroError as e:
            self._failed(_ASKING, dst, e)
            raise

    def asks_peer(self, security: Security) -> bool:
        """Whether a client has to know what its peer can do, before `towards`."""
        return asks_peer(self.suites, security)

    def towards(self, dst: str, security: Security, peer: Capability) -> Security:
        """What a client asks this peer for. CryptError."""
        try:
            return towards(self.suites, security, peer)
        except OuroError as e:
            self._failed(_ASKING, dst, e)
            raise

    def refused_by_peer(self, security: Security, error: CryptError) -> CryptError:
        """The error for a client whose request the far end refused: from afar comes a number and no reason."""
        encryption = security.encryption
        if encryption is None:
            return CryptError(f"{error}; a plain flow was asked for: the server requires encryption, see its log")
        kind = "post-quantum" if self.suites.kexes.named(encryption.kex).post_quantum else "classical"
        return CryptError(
            f"{error}; {encryption.kex} ({kind}) with {encryption.cipher} was asked for: the server requires more or "
            "has less, see its log"
        )

    async def prepare(self, peer: Hashable, request: FlowAlloc, security: Security) -> OapContext:
        """The client's request. Errors as `OapClient.prepare` and `WorkerPool.run`."""
        try:
            context = await self._workers.run(peer, Prepare(request.dst, request.data, time.time_ns(), security))
        except OuroError as e:
            self._failed(_ASKING, request.dst, e)
            raise
        self._trace(context.request, sent=True)
        return context

    async def serve(self, peer: Hashable, name: Name, waiter: Waiter, request: bytes) -> tuple[bytes, OapResult]:
        """The server's half, for a waiter that was taken. NotPermitted; CryptError, AuthenticationFailed; and as
        `WorkerPool.run`.
        """
        self._trace(request, sent=False)
        try:
            self._plugins.authorize(name.name, waiter.process.uid, waiter.process.pid, True)
            security = self._configured(Side.SERVER, name.name)
            now = time.time_ns()
            admitted = self._server.admit(request, now)
            if admitted.header.certificate:
                security = evolve(security, store=self._security.store())
            response, result = await self._workers.run(peer, Answer(admitted, waiter.data, now, security))
        except OuroError as e:
            self._failed("Refused a flow request for", name.name, e)
            raise
        self._trace(response, sent=True, asked_md=admitted.header.md_nid)
        return response, result

    async def complete(self, peer: Hashable, context: OapContext, response: bytes) -> OapResult:
        """The client's half of a response. CryptError, AuthenticationFailed; and as `WorkerPool.run`."""
        self._trace(response, sent=False, asked_md=context.header.md_nid)
        try:
            if shows_certificate(response):
                context = evolve(context, security=evolve(context.security, store=self._security.store()))
            return await self._workers.run(peer, Complete(context, response, time.time_ns()))
        except OuroError as e:
            self._failed("Refused an answer from", context.dst, e)
            raise

    def _configured(self, side: Side, name: str) -> Security:
        known = self._registry.names.get(name)
        return self._security.security(side, name, known.info if known else None)

    def _failed(self, what: str, name: str, why: OuroError) -> None:
        self.refused += 1
        log.warning("%s %s: %s", what, name, why)

    def _trace(self, message: bytes, sent: bool, asked_md: int | None = None) -> None:
        if oap_log.isEnabledFor(PP):
            for line in message_lines(self.suites, message, sent, asked_md):
                oap_log.log(PP, "%s", line)
