"""What the IRMd would make of the security files of a host, found out by the same code."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen

from ..contracts.crypto import Credentials
from ..irm.security import STORE, SecurityFiles, Side, SidePaths, default_directory, first_certificate
from ..model.capability import Capability
from ..model.errors import CryptError, InvalidArgument, OuroError
from ..model.irm_requests import ListNames, ProbeName, RibRead
from ..model.names import NameInfo, check_name
from ..oap import Encryption, OapClient, OapResult, OapServer, ReplayGuard, Security, towards
from ..plugins import PluginHost
from ..plugins.suites import oap_suites, own_capabilities
from .session import Session

__all__ = ["Exchange", "FileReport", "Inspector", "SideReport", "name_info", "peer_capabilities", "security_directory"]

T = TypeVar("T")


def security_directory(chosen: str | None) -> str:
    """The chosen one, else the running IRMd's, else the one that an IRMd of this user would have."""
    if chosen:
        return str(Path(chosen).absolute())
    found = _ask(lambda session: json.loads(session.call(RibRead("irm/security")).json)["directory"])
    return found or default_directory()


def name_info(name: str) -> NameInfo | None:
    """What the running IRMd knows of a name: it may have files elsewhere."""
    return _ask(lambda session: next((i for i in session.call(ListNames()).names if i.name == name), None))


def peer_capabilities(name: str) -> Capability | None:
    """What the node can do that a flow to this name would lead to. None: the IRMd does not run, does not tell us, or
    knows no way there.
    """
    return _ask(lambda session: session.call(ProbeName(name)).capabilities)


def _ask(question: Callable[[Session], T]) -> T | None:
    """The IRMd's answer; None: it does not run, or does not tell us."""
    session = Session("ouro")
    try:
        return question(session)
    except OuroError:
        return None
    finally:
        session.close()


@frozen
class FileReport:
    """One file that is looked for."""

    path: str
    found: bool
    what: str = ""
    """What is in it; empty when it is missing or wrong."""


@frozen
class SideReport:
    """What is configured for a name on one side. `encryption` None: the flow is plain if the peer wants it so."""

    files: tuple[FileReport, ...]
    problems: tuple[str, ...]
    """Each of them makes allocations fail."""
    warnings: tuple[str, ...]
    encryption: Encryption | None
    certificate: str
    """The name that is shown to peers; "" for none."""
    require_peer: bool
    pqc: str
    """The policy on post-quantum algorithms; "" for none."""
    security: Security | None
    """None: it cannot be used."""


@frozen
class Exchange:
    """A flow between both sides of this host. `error`: why there is none, and `code` what the applications get."""

    error: str = ""
    code: int = 0
    kex: str = ""
    cipher: str = ""
    server: str = ""
    """The name that the client has verified; "" for none."""
    client: str = ""


class Inspector:
    """Looks at the files of one directory, with the suites that are installed here."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        plugins = PluginHost.from_environment()
        with redirect_stdout(sys.stderr):  # what a plugin prints while it is imported must not end up in the JSON
            plugins.load()
            self.suites = oap_suites(plugins)
            self.capabilities = own_capabilities(plugins)
        self._remarks: list[str] = []
        self._files = SecurityFiles(directory, self.suites, self._remarks.append)

    def folder(self, name: str, client_of: str | None = None) -> Path:
        """Where the files of a name are: a server's, or those of a client of `client_of`. InvalidArgument."""
        side, owner = (Side.SERVER, name) if client_of is None else (Side.CLIENT, client_of)
        folder = self._files.folder(side, check_name(owner))
        if not folder:
            raise InvalidArgument(f'"{owner}" can have no directory of its own')
        return Path(folder)

    # ------------------------------------------------------------ one name

    def side(self, side: Side, name: str, info: NameInfo | None) -> SideReport:
        """Everything about one side of a name, each fault on its own."""
        del self._remarks[:]
        paths = self._files.paths(side, name, info)
        problems: list[str] = []

        def attempt(work: Callable[[], T]) -> T | None:
            try:
                return work()
            except OuroError as e:
                problems.append(str(e))
                return None

        conf = attempt(lambda: self._files.enc_conf(paths))
        encryption = conf.encryption if conf else None
        credentials = attempt(lambda: self._files.credentials(paths))
        static = attempt(lambda: self._files.static_key(side, paths, encryption)) if encryption else None
        if conf is not None:
            attempt(lambda: self._files.check_policy(paths, conf, credentials))
        policy = conf.pqc if conf else None
        security = None
        if not problems:
            security = Security(encryption, credentials, (), bool(conf and conf.require_peer), static, policy)
        store = attempt(self._files.store) or ()
        expected = name if side is Side.SERVER else ""
        remarks = [*self._remarks, *self._doubts(credentials, encryption, store, expected)]
        if credentials is None and Path(paths.crt).exists() != Path(paths.key).exists():
            remarks.append(f"only one of {paths.crt} and {paths.key} is there: no certificate is shown")
        return SideReport(
            tuple(self._file_reports(paths, conf is not None, encryption, credentials)),
            tuple(problems), tuple(remarks), encryption, self._name_of(credentials),
            bool(conf and conf.require_peer), policy.value if policy else "",
            security and evolve(security, store=store),
        )  # fmt: skip

    def _file_reports(
        self, paths: SidePaths, configured: bool, encryption: Encryption | None, credentials: Credentials | None
    ) -> Iterator[FileReport]:
        said = str(_brief(encryption)) if encryption else "none: plain"
        for path, what in (
            (paths.enc, said if configured else ""),
            (paths.crt, f'certificate of "{self._name_of(credentials)}"' if credentials else ""),
            (paths.key, "its private key" if credentials else ""),
            (f"{paths.kex}.pem", "static key"),
            (f"{paths.kex}.raw", "static key"),
        ):
            found = Path(path).exists()
            if found or not path.startswith(paths.kex):
                yield FileReport(path, found, what if found else "")
        if paths.old_enc and Path(paths.old_enc).exists():
            yield FileReport(paths.old_enc, True, "" if Path(paths.enc).exists() else said)

    def _doubts(
        self, credentials: Credentials | None, encryption: Encryption | None, store: tuple[bytes, ...], expected: str
    ) -> Iterator[str]:
        """What peers will not like about a certificate of ours. `expected`: the name it must have, "" for any."""
        if credentials is None:
            return
        certificate = credentials.certificate
        authenticator = next(a for a in self.suites.authenticators.available() if a.accepts(certificate))
        digest = self.suites.digests.named(encryption.digest) if encryption else None
        checks: tuple[Callable[[], None], ...] = (
            lambda: authenticator.verify(certificate, b"", authenticator.sign(credentials, b"", digest), digest),
            lambda: authenticator.verify_chain(certificate, store, time.time_ns()),
        )
        for check in checks:
            try:
                check()
            except OuroError as e:
                yield f"peers will refuse the certificate: {e}"
        name = authenticator.name_of(certificate)
        if expected and name != expected:
            yield f'clients will refuse the certificate: it is for "{name}", not for "{expected}"'

    def _name_of(self, credentials: Credentials | None) -> str:
        if credentials is None:
            return ""
        return next(
            a.name_of(credentials.certificate)
            for a in self.suites.authenticators.available()
            if a.accepts(credentials.certificate)
        )

    def exchange(self, name: str, client: SideReport, server: SideReport) -> Exchange:
        """A real exchange between the two sides, all in this process."""
        if client.security is None or server.security is None:
            return Exchange("a side cannot be used, see above", 0)
        now = time.time_ns()
        oap = OapClient(self.suites)
        try:
            asked = towards(self.suites, client.security, self.capabilities)
            context = oap.prepare(name, b"", now, asked)
            response, accepted = OapServer(self.suites, ReplayGuard()).process(
                context.request, b"", now, server.security
            )
            allocated: OapResult = oap.complete(context, response, now)
        except OuroError as e:
            return Exchange(str(e), e.code)
        if allocated.key != accepted.key:
            stale = CryptError(
                "both sides have a key, and not the same: the client's kex.srv.pub is not of the server's kex.key; "
                "give it the server's present one"
            )
            return Exchange(str(stale), stale.code)
        cipher = self.suites.ciphers.numbered(allocated.cipher_nid).name if allocated.cipher_nid else ""
        return Exchange("", 0, allocated.kex, cipher, allocated.peer, accepted.peer)

    # ------------------------------------------------------------ all certificates

    def certificates(self) -> list[dict[str, Any]]:
        """One entry a certificate: path, subject, issuer, key, until, problems."""
        found = [self._entry(path, trusted=True) for folder in STORE for path in self._files.store_files(folder)]
        for side in Side:
            base = Path(self.directory, side.value)
            for path in sorted(base.rglob("crt.pem")) if base.is_dir() else ():
                found.append(self._entry(str(path), problems=self._own(side, str(path.parent.relative_to(base)))))
        return found

    def _own(self, side: Side, name: str) -> tuple[str, ...]:
        """What is wrong with a certificate of this host."""
        del self._remarks[:]
        try:
            credentials = self._files.credentials(self._files.paths(side, name))
            expected = name if side is Side.SERVER else ""
            doubts = tuple(self._doubts(credentials, None, self._files.store(), expected))
        except OuroError as e:
            return (*self._remarks, str(e))
        missing = () if credentials else ("its key is missing: it is not shown",)
        return (*self._remarks, *doubts, *missing)

    def _entry(self, path: str, trusted: bool = False, problems: tuple[str, ...] = ()) -> dict[str, Any]:
        from cryptography import x509

        entry: dict[str, Any] = {"path": path, "problems": list(problems)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                certificate = x509.load_der_x509_certificate(first_certificate(Path(path).read_bytes(), path))
                until = certificate.not_valid_after_utc
                entry |= {
                    "subject": _common_name(certificate.subject), "issuer": _common_name(certificate.issuer),
                    "until": f"{until:%Y-%m-%d}",
                }  # fmt: skip
                entry["key"] = self._key_of(certificate)
        except OuroError as e:
            entry["problems"] = [str(e)]
        except OSError as e:
            entry["problems"] = [f"cannot read {path}: {e.strerror}"]
        except ValueError as e:
            entry.setdefault("key", "unknown key")
            entry["problems"].append(str(e))
        else:
            if trusted and until.timestamp() < time.time():
                entry["problems"].append("it has expired")
        return entry

    def _key_of(self, certificate: Any) -> str:
        """What kind of key a certificate has. ValueError: it is damaged."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import Encoding

        try:
            return type(certificate.public_key()).__name__.removesuffix("PublicKey").lstrip("_")
        except UnsupportedAlgorithm as e:
            for family in self.suites.authenticators.available():
                if family.accepts(certificate.public_bytes(Encoding.DER)):
                    return family.name
            raise ValueError(f"{e}{self.suites.authenticators.missing}") from None


def _common_name(name: Any) -> str:
    from cryptography.x509.oid import NameOID

    return ", ".join(str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME))


def _brief(encryption: Encryption) -> str:
    return f"{encryption.kex}, {encryption.cipher}, kdf {encryption.kdf}, digest {encryption.digest}"
