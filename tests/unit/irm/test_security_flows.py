"""Allocations with security files: what both applications get, whoever is at fault, and what the log says."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
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
from ouro_core.irm import allocation, workers
from ouro_core.irm.security import Side
from ouro_core.irm.sessions import IpcpSession
from ouro_core.model.errors import (
    AuthenticationFailed,
    CryptError,
    FlowTimeout,
    IpcpError,
    NotPermitted,
    OuroError,
    OutOfMemory,
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
from ouro_core.oap import Encryption, OapClient, Prepare, Security
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites
from ouro_core.rpc.fds import close_grants
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


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    root = logging.getLogger("ouro")
    before = root.level
    root.addHandler(caplog.handler)
    root.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    propagates, root.propagate = root.propagate, False
    yield caplog
    root.removeHandler(caplog.handler)
    root.setLevel(before)
    root.propagate = propagates


Maker = Callable[..., Awaitable[Network]]


@pytest.fixture
async def make(make_host: Callable[..., Any], tmp_path: Path, log: pytest.LogCaptureFixture) -> Maker:
    async def make(layer: bool = False, processes: bool = False) -> Network:
        made: list[Any] = []

        def launcher(plugins: PluginHost) -> Any:
            made.append(WithWorkers(plugins) if processes else LoopLauncher(plugins))
            return made[-1]

        directory = tmp_path / "security"
        host = make_host(launcher, direct=not layer, security=str(directory), accept_window=5)
        network = Network(host, directory, log, made[0])
        await network.start(layer)
        return network

    return make


@pytest.fixture(params=["direct", "layer"])
async def network(request: pytest.FixtureRequest, make: Maker) -> Network:
    """Both ways of a flow on one host; slow cryptography in the loop."""
    return await make(request.param == "layer")


# ---------------------------------------------------------------- who configured what


async def test_nothing_configured(network: Network) -> None:
    await network.plain()
    assert network.lines() == []


async def test_both_require_encryption(network: Network) -> None:
    network.write("server/srv/enc.conf", "")
    network.write("client/srv/enc.conf", "")
    await network.encrypted()


async def test_the_client_alone_requires_it(network: Network) -> None:
    network.write("client/srv/enc.conf", "kex=X25519\ncipher=chacha20-poly1305")
    await network.encrypted(CHACHA)


async def test_the_server_requires_it_and_the_client_is_plain(network: Network) -> None:
    network.write("server/srv/enc.conf", "")
    ours, theirs = await network.flow()
    assert (type(ours), type(theirs)) == (CryptError, CryptError)
    assert (ours.code, theirs.code) == (-1008, -1008)
    refusals = [line for line in network.lines() if line.startswith("Refused")]
    assert refusals == [
        "Refused a flow request for srv: the client asks for a plain flow, and encryption is required here"
    ]
    network.write("server/srv/enc.conf", "none")
    await network.plain()


async def test_the_stronger_cipher_is_taken_and_a_weaker_key_exchange_refused(network: Network) -> None:
    network.write("server/srv/enc.conf", "kex=prime256v1\ncipher=chacha20-poly1305")
    network.write("client/srv/enc.conf", "kex=secp521r1\ncipher=aes-128-gcm")
    await network.encrypted(CHACHA)
    network.write("server/srv/enc.conf", "kex=X448")
    network.write("client/srv/enc.conf", "kex=X25519")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1008, -1008)
    assert "weaker than the X448" in str(theirs)


# ---------------------------------------------------------------- who is who


async def test_mutual_authentication(network: Network) -> None:
    network.write("server/srv/enc.conf", "auth=required")
    network.write("client/srv/enc.conf", "auth=required")
    network.credentials("server", "srv")
    network.credentials("client", "alice", "rsa2048")
    await network.encrypted()


async def test_authentication_without_encryption(network: Network) -> None:
    network.credentials("server", "srv", "ed25519")
    network.write("client/srv/enc.conf", "auth=required\nnone")
    await network.plain()


async def test_a_server_may_require_a_certificate(network: Network) -> None:
    network.write("server/srv/enc.conf", "auth=required\nnone")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "shows no certificate, and one is required" in str(theirs)
    network.credentials("client", "alice")
    await network.plain()


async def test_a_client_may_require_one(network: Network) -> None:
    network.write("client/srv/enc.conf", "auth=required\nnone")
    ours, _ = await network.flow()
    assert ours.code == -1008
    assert "shows no certificate, and one is required" in str(ours)
    network.credentials("server", "srv")
    await network.plain()


async def test_a_client_refuses_certificates_that_are_not_right(network: Network) -> None:
    foreign = make_authority("Foreign CA", "p256", 10)
    for pair, why in (
        (issue(network.authority, "other", "p256", 10), 'for "other", not for "srv"'),
        (issue(foreign, "srv", "p256", 10), "Foreign CA"),
        (expired(network.authority, "srv"), "expired"),
        (Pair(issue(network.authority, "srv", "p256", 10).certificate, foreign.key_pem), "does not fit"),
    ):
        network.show("server", pair)
        ours, _ = await network.flow()
        assert isinstance(ours, CryptError)
        assert why in str(ours)
        assert [line for line in network.lines() if why in line] == [f"Refused an answer from srv: {ours}"]
    network.credentials("server", "srv")
    await network.plain()


async def test_a_server_refuses_certificates_that_are_not_right(network: Network) -> None:
    foreign = make_authority("Foreign CA", "p256", 10)
    for pair, why in (
        (issue(foreign, "alice", "p256", 10), "Foreign CA"),
        (expired(network.authority, "alice"), "expired"),
        (Pair(issue(network.authority, "alice", "p256", 10).certificate, foreign.key_pem), "does not fit"),
    ):
        network.show("client", pair)
        ours, theirs = await network.flow()
        assert (ours.code, theirs.code) == (-1009, -1009)
        assert why in str(theirs)
        assert [line for line in network.lines() if why in line] == [f"Refused a flow request for srv: {theirs}"]
    network.credentials("client", "alice")
    await network.plain()


async def test_a_name_for_the_log_alone_is_refused_in_one_line(network: Network) -> None:
    """An authority's client who calls himself what looks like a line of the log, or moves its reader's cursor."""
    network.show("client", issued(network.authority, "alice\n==1== irmd(II): \x1b[2JAll is well.", datetime.now(UTC)))
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert r"'alice\n==1== irmd(II): \x1b[2JAll is well.', has unprintable" in str(theirs)
    assert [line for line in network.lines() if "alice" in line] == [f"Refused a flow request for srv: {theirs}"]


async def test_an_ed25519_server_with_enc_conf_is_told_what_to_do(network: Network) -> None:
    network.credentials("server", "srv", "ed25519")
    network.write("server/srv/enc.conf", "")
    network.write("client/srv/enc.conf", "")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "cannot have an enc.conf" in str(theirs)


# ---------------------------------------------------------------- files that are wrong


@pytest.mark.parametrize(
    ("file", "code", "why"),
    [("enc.conf", -1008, r"enc.conf:1: key exchange"), ("crt.pem", -1009, "crt.pem"), ("key.pem", -1009, "key.pem")],
)
async def test_a_wrong_file_of_the_server_ends_both(network: Network, file: str, code: int, why: str) -> None:
    network.credentials("server", "srv")
    network.write(f"server/srv/{file}", "kex=nonsense")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (code, code)
    refusals = [line for line in network.lines() if line.startswith("Refused")]
    assert refusals == [f"Refused a flow request for srv: {theirs}"]
    assert why in refusals[0]


@pytest.mark.parametrize(("file", "code"), [("enc.conf", -1008), ("crt.pem", -1009), ("key.pem", -1009)])
async def test_a_wrong_file_of_the_client_is_not_the_servers_fault(network: Network, file: str, code: int) -> None:
    network.credentials("client", "alice")
    network.write(f"client/srv/{file}", "kex=nonsense")
    ours, theirs = await network.flow()
    assert ours.code == code
    assert isinstance(theirs, asyncio.CancelledError)
    assert network.lines() == [f"Cannot ask for a flow to srv: {ours}"]


async def test_a_wrong_store_refuses_whoever_shows_a_certificate(network: Network) -> None:
    network.write("cacert/rubbish", "rubbish")
    await network.plain()
    network.credentials("client", "alice")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "cacert/rubbish" in str(theirs)


async def test_names_with_security_files_are_an_administrators(make: Maker) -> None:
    network = await make()
    network.credentials("server", "srv")
    (network.directory / "server" / "bank").mkdir()
    with pytest.raises(NotPermitted, match="has security files, so an administrator must create it"):
        await network.host.bob.call(CreateName(NameInfo("bank")))
    await network.host.root.call(CreateName(NameInfo("bank")))


# ---------------------------------------------------------------- hostile requests


async def test_requests_that_are_none(make: Maker) -> None:
    network = await make(layer=True)
    network.credentials("server", "srv")
    good = network.request(Security(Encryption(kex="X25519")))
    alice = Security(credentials=_credentials(network, issue(network.authority, "alice", "p256", 10)))
    tampered, in_certificate = bytearray(network.request(alice)), bytearray(network.request(alice))
    tampered[-1] ^= 1
    in_certificate[50] ^= 255
    cases = [
        (b"", "at least 36"),
        (good[: len(good) // 2], "fields need"),
        (good + b"x", "trailing"),
        (network.request(late=30), "ms old"),
        (network.request(late=-1), "in the future"),
        (bytes(tampered), "signature"),
        (bytes(in_certificate), "certificate"),
        (good[:24] + b"\x12\x34" + good[26:], "unknown cipher NID"),
        (good[:30] + b"\xea\x60" + good[32:], "fields need"),
        (os.urandom(2000), "."),
    ]
    for data, why in cases:
        accepted = network.server.accept(timeout=WAIT)
        with pytest.raises(AuthenticationFailed, match=why) as refusal:
            await network.arrive(data)
        with pytest.raises(AuthenticationFailed):
            await accepted
        assert network.lines() == [f"Refused a flow request for srv: {refusal.value}"]
    await network.plain()


def _credentials(network: Network, pair: Pair) -> Any:
    network.show("client", pair)
    found = network.host.irm.security.credentials(network.host.irm.security.paths(Side.CLIENT, "srv"))
    for name in ("crt.pem", "key.pem"):
        (network.directory / "client" / "srv" / name).unlink()
    return found


async def test_a_request_is_good_once(make: Maker) -> None:
    network = await make(layer=True)
    data = network.request()
    accepted = network.server.accept(timeout=WAIT)
    close_grants(await network.arrive(data))
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    with pytest.raises(AuthenticationFailed, match="replay"):
        await network.arrive(data)
    with pytest.raises(AuthenticationFailed):
        await accepted


async def test_a_response_is_no_request(make: Maker) -> None:
    network = await make(layer=True)
    accepted = network.server.accept(timeout=WAIT)
    arrival = await network.arrive(network.request())
    close_grants(arrival)
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    with pytest.raises(AuthenticationFailed, match="trailing"):
        await network.arrive(arrival.data)
    with pytest.raises(AuthenticationFailed):
        await accepted


async def test_keys_that_are_none(make: Maker) -> None:
    network = await make(layer=True)
    good = network.request(Security(Encryption(kex="X25519")))
    for key in (bytes(32), b"\1" + bytes(31)):  # low order
        data = network.request(Security(Encryption(kex="X25519")))[:-32] + key
        accepted = network.server.accept(timeout=WAIT)
        with pytest.raises(CryptError):
            await network.arrive(data)
        with pytest.raises(CryptError):
            await accepted
    assert len(good) == 36 + 44


# ---------------------------------------------------------------- workers


@pytest.fixture
async def served(make: Maker) -> Network:
    """Over a layer, with workers, and one of them at work already."""
    network = await make(layer=True, processes=True)
    network.write("server/srv/enc.conf", "kex=X448")
    network.write("client/srv/enc.conf", "kex=X448")
    await network.encrypted()
    assert network.host.irm.workers.view().workers >= 1
    return network


def stop(network: Network) -> None:
    """The workers do not get on any more."""
    for handle in network.launcher.started:
        os.kill(handle.pid, signal.SIGSTOP)


def go_on(network: Network) -> None:
    for handle in network.launcher.started:
        os.kill(handle.pid, signal.SIGCONT)


async def at_work(network: Network) -> None:
    await until(lambda: network.host.irm.workers.view().busy)


@pytest.mark.parametrize("layer", [False, True])
async def test_flows_with_workers(make: Maker, layer: bool) -> None:
    network = await make(layer, processes=True)
    await network.plain()
    assert network.host.irm.workers.view().workers == 0
    network.write("server/srv/enc.conf", "auth=required")
    network.write("client/srv/enc.conf", "")
    network.credentials("server", "srv")
    ours, _ = await network.flow()
    assert isinstance(ours, AuthenticationFailed)
    network.credentials("client", "alice")
    await network.encrypted()
    view = network.host.irm.workers.view()
    assert view.workers >= 1
    assert (view.busy, view.waiting, view.refused, view.overdue, view.died) == (0, 0, 0, 0, 0)


async def test_quick_key_exchanges_wait_for_no_worker(make: Maker) -> None:
    network = await make(layer=True, processes=True)
    for kex in ("X25519", "prime256v1"):
        for side in ("server", "client"):
            network.write(f"{side}/srv/enc.conf", f"kex={kex}")
        await network.encrypted()
    assert network.launcher.started == []


async def test_plain_requests_wait_for_no_worker(make: Maker) -> None:
    network = await make(layer=True, processes=True)
    accepted = network.server.accept(timeout=WAIT)
    close_grants(await network.arrive(network.request()))
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    network.write("server/srv/enc.conf", "")
    with pytest.raises(CryptError):
        await network.arrive(network.request())
    with pytest.raises(CryptError):
        await accepted
    assert network.launcher.started == []


async def test_a_requester_that_gives_up_leaves_the_acceptor_waiting(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    assert not served.host.registry.names["srv"].queue
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert len(served.host.registry.names["srv"].queue) == 1
    go_on(served)
    close_grants(await served.arrive(served.request(Security(Encryption(kex="X448")))))
    allocation = await accepted
    assert allocation.cipher == GCM
    await served.server.dealloc(allocation.flow_id)


async def test_an_acceptor_that_gives_up_is_an_error_for_the_requester(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    accepted.cancel()
    await asyncio.gather(accepted, return_exceptions=True)
    go_on(served)
    with pytest.raises(IpcpError, match="gave up, or went away"):
        await request
    assert served.host.irm.status().flows == 0
    await served.encrypted()


async def test_an_accept_call_waits_for_the_request_that_came_in_time(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=0.1)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    await asyncio.sleep(0.2)
    go_on(served)
    close_grants(await request)
    await served.server.dealloc((await accepted).flow_id)


async def test_but_not_for_ever_nor_for_the_next_one(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "LATE", 0.2)
    for give_up in (False, True):
        stop(served)
        accepted = served.server.accept(timeout=0.1)
        request = served.arrive(served.request(Security(Encryption(kex="X448"))))
        await at_work(served)
        if give_up:
            await asyncio.sleep(0.15)
            request.cancel()
        with pytest.raises(FlowTimeout):
            await accepted
        go_on(served)
        await asyncio.gather(request, return_exceptions=True)
    await served.encrypted()


async def test_a_worker_that_dies_costs_one_allocation(served: Network) -> None:
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    for handle in served.launcher.started:
        handle.kill()
    with pytest.raises(IpcpError, match="the worker that did the cryptography of this allocation ended"):
        await request
    with pytest.raises(IpcpError):
        await accepted
    await until(lambda: served.host.irm.workers.view().died)
    await served.encrypted()


async def test_a_worker_that_hangs_is_killed(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.3)
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    with pytest.raises((FlowTimeout, IpcpError)):
        await served.arrive(served.request(Security(Encryption(kex="X448"))))
    with pytest.raises((FlowTimeout, IpcpError)):
        await accepted
    await until(lambda: served.host.irm.workers.view().died)
    monkeypatch.setattr(workers, "PATIENCE", WAIT)
    await served.encrypted()


class Endless:
    """A job that keeps a processor busy from where the worker reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("while True: pass",)

    def slow(self, suites: object) -> bool:
        return True


async def test_a_worker_that_uses_too_much_processor_time_is_killed(
    served: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PROCESSOR", 0.3)
    monkeypatch.setattr(workers, "PATIENCE", 10 * WAIT)
    pool = served.host.irm.workers
    endless: Any = Endless()
    async with asyncio.timeout(WAIT):
        with pytest.raises(FlowTimeout, match=r"0\.3 s of processor time"):
            await pool.run("peer", endless)
    await until(lambda: pool.view().died)
    assert pool.view().overdue == 1
    monkeypatch.setattr(workers, "PROCESSOR", WAIT)
    await served.encrypted()


async def test_a_worker_that_gets_no_processor_is_waited_for(served: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives way to all others: what it is late through is not its fault."""
    monkeypatch.setattr(workers, "PROCESSOR", 0.3)
    stop(served)
    accepted = served.server.accept(timeout=WAIT)
    request = served.arrive(served.request(Security(Encryption(kex="X448"))))
    await at_work(served)
    await asyncio.sleep(1.0)
    go_on(served)
    close_grants(await request)
    await served.server.dealloc((await accepted).flow_id)
    view = served.host.irm.workers.view()
    assert (view.died, view.overdue) == (0, 0)


async def test_a_peer_has_so_many_jobs_and_the_others_theirs(served: Network) -> None:
    stop(served)
    accepts = [served.server.accept(timeout=WAIT) for _ in range(workers.MAX_JOBS_PER_PEER + 20)]
    requests = [served.arrive(served.request(Security(Encryption(kex="X448")))) for _ in accepts]
    view = served.host.irm.workers.view
    await until(lambda: view().refused)
    assert view().waiting <= workers.MAX_JOBS_PER_PEER
    go_on(served)
    found = await asyncio.gather(*requests, return_exceptions=True)
    theirs = await asyncio.gather(*accepts, return_exceptions=True)
    refused = [error for error in found if isinstance(error, OutOfMemory)]
    assert refused
    assert len(refused) == sum(isinstance(error, OutOfMemory) for error in theirs)
    for arrival in found:
        if isinstance(arrival, Arrival):
            close_grants(arrival)
    for allocation_ in theirs:
        if isinstance(allocation_, Allocation):
            await served.server.dealloc(allocation_.flow_id)
    await served.encrypted()


async def test_a_flood_at_many_names_leaves_room_for_whoever_asks_little(served: Network) -> None:
    stop(served)
    pool = served.host.irm.workers
    job = Prepare("srv", b"", time.time_ns(), Security(Encryption(kex="X448")))
    peers = workers.MAX_JOBS // workers.MAX_JOBS_PER_PEER + 1
    flood = [
        asyncio.ensure_future(pool.run((1, f"name{peer}"), job))
        for peer in range(peers)
        for _ in range(workers.MAX_JOBS_PER_PEER)
    ]
    await until(lambda: pool.view().refused)
    refused = pool.view().refused
    local = asyncio.ensure_future(pool.run(("user", 1000), job))
    await until(lambda: pool.view().refused > refused)
    assert workers.MAX_JOBS - 4 <= pool.view().waiting <= workers.MAX_JOBS  # a worker that came late has one
    assert not local.done()
    go_on(served)
    await local
    errors = [e for e in await asyncio.gather(*flood, return_exceptions=True) if isinstance(e, BaseException)]
    assert errors
    assert all(isinstance(e, OutOfMemory) for e in errors)


async def test_workers_are_programs_where_there_is_no_zygote(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", WAIT)
    network = await make(layer=True, processes=True)
    launcher = network.launcher.zygote
    launcher._zygote.end()
    launcher._zygote = None
    network.write("client/srv/enc.conf", "kex=X448")
    await network.encrypted()
    command = await asyncio.to_thread(Path(f"/proc/{network.launcher.started[0].pid}/cmdline").read_bytes)
    assert b"ouro_core.ipcp.worker" in command


async def test_one_peer_never_has_all_workers(served: Network) -> None:
    root = served.host.root
    other = await root.announce("other")
    await other.call(CreateName(NameInfo("other")))
    await other.call(BindProcess(other.pid, "other"))
    (ipcp,) = served.host.registry.ipcps
    await root.call(RegName("other", ipcp))
    served.write("client/other/enc.conf", "kex=X448")
    stop(served)
    accepts = [served.server.accept(timeout=WAIT) for _ in range(4)]
    requests = [served.arrive(served.request(Security(Encryption(kex="X448")))) for _ in accepts]
    await at_work(served)
    accepted = other.accept(timeout=WAIT)
    ours = await served.client.alloc("other", timeout=WAIT)
    assert ours.key == (await accepted).key != b""
    assert not any(request.done() for request in requests)
    go_on(served)
    for arrival in await asyncio.gather(*requests):
        close_grants(arrival)
    for allocation_ in await asyncio.gather(*accepts):
        await served.server.dealloc(allocation_.flow_id)


async def test_a_bad_store_is_told_at_the_start(make: Maker, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    (tmp_path / "security" / "cacert").mkdir(parents=True)
    (tmp_path / "security" / "cacert" / "notes").write_text("rubbish")
    network = await make()
    (line,) = network.lines()
    assert line.startswith("No flow whose peer shows a certificate will be allocated: ")
    assert "cacert/notes" in line


async def test_a_flood_at_one_name_leaves_the_others_alone(make: Maker) -> None:
    """A hundred requests a second that each cost an RSA signature; -s shows how long allocations take meanwhile."""
    network = await make(layer=True, processes=True)
    network.credentials("server", "srv", "rsa4096")
    root = network.host.root
    await network.server.call(CreateName(NameInfo("srv")))
    other = await network.host.root.announce("other")
    await other.call(CreateName(NameInfo("other")))
    await other.call(BindProcess(other.pid, "other"))
    (ipcp,) = network.host.registry.ipcps
    await root.call(RegName("other", ipcp))
    hostile = asyncio.ensure_future(_flood(network, 300))
    acceptors = [asyncio.ensure_future(_accept_all(network.server)) for _ in range(8)]
    times = []
    while not hostile.done():
        accepted = other.accept(timeout=WAIT)
        await until(lambda: network.host.registry.names["other"].queue)
        before = time.perf_counter()
        ours = await network.client.alloc("other", timeout=WAIT)
        times.append(time.perf_counter() - before)
        await network.client.dealloc(ours.flow_id)
        await other.dealloc((await accepted).flow_id)
    answered = await hostile
    for acceptor in acceptors:
        acceptor.cancel()
    await asyncio.gather(*acceptors, return_exceptions=True)
    assert answered
    times.sort()
    spread = ", ".join(f"p{share} {1000 * times[(len(times) - 1) * share // 100]:.2f} ms" for share in (50, 99, 100))
    print(f"\n{len(times)} allocations beside {answered} answered hostile requests: {spread}")
    await until(lambda: not network.host.irm.workers.view().busy)


async def _flood(network: Network, count: int) -> int:
    """How many were answered."""
    requests = []
    for _ in range(count):
        requests.append(network.arrive(network.request()))
        await asyncio.sleep(0.01)
    found = await asyncio.gather(*requests, return_exceptions=True)
    for arrival in found:
        if isinstance(arrival, Arrival):
            close_grants(arrival)
        else:
            assert isinstance(arrival, OuroError), arrival
    return sum(isinstance(arrival, Arrival) for arrival in found)


async def _accept_all(app: Any) -> None:
    while True:
        (found,) = await asyncio.gather(app.accept(), return_exceptions=True)
        if isinstance(found, Allocation):
            await app.dealloc(found.flow_id)
