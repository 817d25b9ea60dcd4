"""A host whose names have security files: its server, its client, and whoever asks from the layer."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from ouro_core.cli.certificates import Pair, issue, make_authority, write_pair
from ouro_core.ipcp.launcher import IpcpHandle
from ouro_core.ipcp.near import LoopLauncher
from ouro_core.ipcp.spawner import ZygoteLauncher
from ouro_core.irm.sessions import IpcpSession
from ouro_core.model.errors import (
    OuroError,
)
from ouro_core.model.irm_requests import (
    Allocation,
    Arrival,
    BindProcess,
    BootstrapIpcp,
    CreateIpcp,
    CreateName,
    FlowArrived,
    RegName,
)
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm, NameInfo, hash_name
from ouro_core.model.qos import RAW
from ouro_core.oap import OapClient, Security
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites
from ouro_core.wire.oap import CIPHER_NIDS

WAIT = 30
GCM, CHACHA = CIPHER_NIDS["aes-256-gcm"], CIPHER_NIDS["chacha20-poly1305"]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110, nobody tells the tests
            await asyncio.sleep(0.001)


class WithWorkers(LoopLauncher):
    """IPCPs in this loop, workers from a real zygote."""

    processes = True

    def __init__(self, plugins: PluginHost) -> None:
        super().__init__(plugins)
        self.zygote = ZygoteLauncher(plugins, environ={**os.environ, "OURO_PLUGINS": ""})
        self.started: list[IpcpHandle] = []

    async def worker(self, on_end: Callable[[str], None]) -> IpcpHandle:
        self.started.append(await self.zygote.worker(on_end))
        return self.started[-1]

    async def close(self) -> None:
        await super().close()
        await self.zygote.close()


class Network:
    """One host: a server, bound to "srv", a client, and hostile requests from the layer."""

    def __init__(self, host: Any, directory: Path, log: pytest.LogCaptureFixture, launcher: Any) -> None:
        self.host = host
        self.directory = directory
        self.log = log
        self.launcher = launcher
        self.authority = make_authority("Test CA", "p256", 10)
        self.suites = oap_suites(host.irm.plugins)

    async def start(self, layer: bool) -> None:
        self.server = await self.host.root.announce("server")
        self.client = await self.host.alice.announce("client")
        await self.server.call(CreateName(NameInfo("srv")))
        await self.server.call(BindProcess(self.server.pid, "srv"))
        self.trust(self.authority)
        if layer:
            root = self.host.root
            ipcp = await root.call(CreateIpcp("local", "lo"))
            await root.call(BootstrapIpcp(ipcp.id, LayerInfo("lo")))
            await root.call(RegName("srv", ipcp.id))
            record = self.host.registry.ipcps[ipcp.id]
            self.ipcp = IpcpSession(self.host.irm, record)

    # ------------------------------------------------------------ files

    def write(self, path: str, content: str | bytes) -> None:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def trust(self, authority: Pair) -> None:
        self.write("cacert/ca.pem", pem(authority.certificate))

    def show(self, side: str, pair: Pair) -> None:
        folder = self.directory / side / "srv"
        write_pair(pair, folder / "crt.pem", folder / "key.pem", force=True)

    def credentials(self, side: str, name: str, algorithm: str = "p256", by: Pair | None = None) -> None:
        self.show(side, issue(by or self.authority, name, algorithm, 10))

    # ------------------------------------------------------------ flows

    async def flow(self) -> tuple[Any, Any]:
        """What the client and the server get: an `Allocation` or an error."""
        accepted = self.server.accept(timeout=WAIT)
        await until(lambda: self.host.registry.names["srv"].queue)
        (ours,) = await asyncio.gather(self.client.alloc("srv", timeout=WAIT), return_exceptions=True)
        if isinstance(ours, OuroError) and not accepted.done():
            accepted.cancel()  # nothing came to the server
        (theirs,) = await asyncio.gather(accepted, return_exceptions=True)
        return ours, theirs

    async def encrypted(self, cipher: int = GCM) -> None:
        """There is a flow, with one key on both sides."""
        ours, theirs = await self.flow()
        assert isinstance(ours, Allocation), ours
        assert isinstance(theirs, Allocation), theirs
        assert (ours.cipher, theirs.cipher) == (cipher, cipher)
        assert ours.key == theirs.key
        assert len(ours.key) == 32
        await self.client.dealloc(ours.flow_id)
        await self.server.dealloc(theirs.flow_id)

    async def plain(self) -> None:
        ours, theirs = await self.flow()
        assert (ours.cipher, theirs.cipher) == (0, 0), (ours, theirs)
        assert (ours.key, theirs.key) == (b"", b"")
        await self.client.dealloc(ours.flow_id)
        await self.server.dealloc(theirs.flow_id)

    def arrive(self, data: bytes) -> "asyncio.Future[Arrival]":
        """A flow request over the layer."""
        request = FlowArrived(hash_name("srv", HashAlgorithm.SHA3_256), RAW, 1, data)
        return asyncio.ensure_future(self.ipcp.call(request))

    def request(self, security: Security = Security(), late: float = 0.0) -> bytes:  # noqa: B008
        return OapClient(self.suites).prepare("srv", b"", time.time_ns() - int(late * 1e9), security).request

    def lines(self) -> list[str]:
        """What the log has said since the last time, warnings and errors."""
        found = [r.getMessage() for r in self.log.records if r.levelno >= logging.WARNING]
        self.log.clear()
        return found


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def expired(authority: Pair, name: str) -> Pair:
    """Valid once."""
    return issued(authority, name, datetime.now(UTC) - timedelta(days=30))


def issued(authority: Pair, name: str, then: datetime) -> Pair:
    """For twenty days. Any name."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(then)
        .not_valid_after(then + timedelta(days=20))
    )
    signer: Any = load_pem_private_key(authority.key_pem, None)
    pem_of_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(builder.sign(signer, hashes.SHA256()), pem_of_key)


Maker = Callable[..., Awaitable[Network]]
