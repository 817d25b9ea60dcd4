"""The security files of names: found, read and cached (spec: oap.md 7.1, 8.1; irmd.md 4.1).

    <directory>/server/<name>/   enc.conf  crt.pem  key.pem  kex.key.pem|raw       flows that are accepted for the name
    <directory>/client/<name>/   enc.conf  crt.pem  key.pem  kex.srv.pub.pem|raw   flows to the name
    <directory>/cacert/          authorities, PEM, one certificate a file
    <directory>/untrusted/       intermediate certificates, the same

Theory of operation. Files are looked up at each allocation, so what changes takes effect without a restart. What is in
them is read and parsed only when `stat` says that they changed; a change in the tenth of a second before a reading
may not show in the time stamp, so such a reading is not relied on. A name without a directory of its own and without
paths in its `NameInfo` costs one `stat` a side. Certificates of authorities are read only for a peer that shows one.

Nothing is open half-way: a file that is there and cannot be read or used is an error for every allocation that needs
it, with the file (and line) in the message: CryptError for enc.conf and keys of the key exchange, AuthenticationFailed
for certificates and their keys. Missing files mean what the prototype takes them for, no encryption required and no
certificate shown, unless the name's `NameInfo` says that they should be there, or a link that leads nowhere does.
"""

import contextlib
import os
import stat
import time
import warnings
from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen

from ..contracts.crypto import Credentials, KemSuite
from ..model.errors import AuthenticationFailed, CryptError, OuroError
from ..model.log import logger
from ..model.names import NameInfo
from ..oap import PLAIN, Encryption, KemMode, OapSuites, PqPolicy, Security
from .security_conf import EncConf, parse_enc_conf

__all__ = ["STORE", "SecurityFiles", "Side", "SidePaths", "default_directory"]

log = logger("irmd/oap")
T = TypeVar("T")
_Stamps: TypeAlias = list[tuple[int, ...] | None]

STORE: Final = ("cacert", "untrusted")
"""Directories of the certificates that peers' are checked against."""
_GIVEN: Final = ("enc", "crt", "key")
"""Files whose paths a `NameInfo` may have."""
MAX_FILE: Final = 1 << 20
"""Bytes of any security file."""
_SETTLED: Final = 100_000_000
"""Nanoseconds after its last change when a file's time stamp has certainly become another's."""


def default_directory() -> str:
    """/etc/ouroboros/security as root, ~/.config/ouroboros/security otherwise."""
    if os.geteuid() == 0:
        return "/etc/ouroboros/security"
    return str(Path("~/.config/ouroboros/security").expanduser())


class Side(Enum):
    """Which end of a flow: the one that accepts it, or the one that asks for it."""

    SERVER = "server"
    CLIENT = "client"


_GIVEN_OF: Final = {side: attrgetter(*(f"{side.value}_{what}" for what in _GIVEN)) for side in Side}
"""What of these a `NameInfo` has for a side."""


@frozen
class SidePaths:
    """Where the files of one name on one side are, if they are anywhere. "": there is no place for it."""

    enc: str
    old_enc: str
    """The older name of enc.conf, looked at when that is missing."""
    crt: str
    key: str
    kex: str
    """Without its suffix, .pem or .raw."""
    given: frozenset[str] = frozenset()
    """Those that the name was created with: they must be there."""


@frozen
class _Entry:
    """What was read from some files: the value, or the error instead of it."""

    stamps: _Stamps
    settled: bool
    value: Any
    error: OuroError | None = None


class SecurityFiles:
    """Those of one IRM. `directory` "": there are none but what `NameInfo`s name. `warn` gets a line for whatever is
    dubious in a file, each time that it is read anew.
    """

    def __init__(
        self, directory: str, suites: OapSuites, warn: Callable[[str], None] = lambda text: log.warning("%s", text)
    ) -> None:
        self.directory = directory
        self._suites = suites
        self._warn = warn
        self._cache: dict[tuple[str, ...], _Entry] = {}

    # ------------------------------------------------------------ where

    def folder(self, side: Side, name: str) -> str:
        """The directory of a name; "": it can have none, as the name would lead elsewhere."""
        if not self.directory or any(part in ("", ".", "..") for part in name.split("/")):
            return ""
        return f"{self.directory}/{side.value}/{name}"

    def paths(self, side: Side, name: str, info: NameInfo | None = None) -> SidePaths:
        """Where the files of a name are looked for."""
        folder = self.folder(side, name)
        given = {what: getattr(info, f"{side.value}_{what}", "") for what in _GIVEN}

        def default(file: str) -> str:
            return f"{folder}/{file}" if folder else ""

        return SidePaths(
            given["enc"] or default("enc.conf"),
            "" if given["enc"] else default("enc.cfg"),
            given["crt"] or default("crt.pem"),
            given["key"] or default("key.pem"),
            default("kex.key" if side is Side.SERVER else "kex.srv.pub"),
            frozenset(path for path in given.values() if path),
        )

    def reserved(self, name: str) -> bool:
        """Whether an administrator put security files for the server side of a name, which is his to hand out then."""
        folder = self.folder(Side.SERVER, name)
        return bool(folder) and os.path.lexists(folder)

    # ------------------------------------------------------------ what

    def security(self, side: Side, name: str, info: NameInfo | None = None) -> Security:
        """What is configured for a name, without the store. CryptError, AuthenticationFailed."""
        folder = self.folder(side, name)
        there = bool(folder) and _stamp(folder, CryptError) is not None
        if not there and (info is None or not any(_GIVEN_OF[side](info))):
            return PLAIN
        paths = self.paths(side, name, info)
        credentials = self.credentials(paths)
        conf = self.enc_conf(paths)
        if conf is None:
            return PLAIN if credentials is None else Security(credentials=credentials)
        static = self.static_key(side, paths, conf.encryption) if conf.encryption else None
        self.check_policy(paths, conf, credentials)
        return Security(conf.encryption, credentials, (), conf.require_peer, static, conf.pqc)

    def check_policy(self, paths: SidePaths, conf: EncConf, credentials: Credentials | None) -> None:
        """AuthenticationFailed: the certificate is of a kind that the policy bars."""
        if credentials is None or conf.pqc is not PqPolicy.OFF:
            return
        for family in self._suites.authenticators.available():
            if family.post_quantum and family.accepts(credentials.certificate):
                raise AuthenticationFailed(
                    f"{paths.crt} has a post-quantum key ({family.name}), and pqc = off in {paths.enc}"
                )

    def enc_conf(self, paths: SidePaths) -> EncConf | None:
        """None: there is no such file. CryptError."""
        conf = self._enc_conf(paths.enc, paths.given)
        if conf is None and paths.old_enc:
            conf = self._enc_conf(paths.old_enc, remark="an enc.conf under its older name; rename it")
        return conf

    def _enc_conf(self, path: str, given: frozenset[str] = frozenset(), remark: str = "") -> EncConf | None:
        def parse(content: bytes) -> EncConf:
            conf = parse_enc_conf(content, path, self._suites)
            for warning in (*([f"{path}: {remark}"] if remark else []), *conf.warnings):
                self._warn(warning)
            return conf

        return self._read((path,), parse, CryptError, given)

    def credentials(self, paths: SidePaths) -> Credentials | None:
        """None: certificate or key is missing, so that nothing is signed. AuthenticationFailed."""

        def parse(crt: bytes, key: bytes) -> Credentials:
            with contextlib.suppress(OSError):
                if os.stat(paths.key).st_mode & 0o077:
                    self._warn(f"{paths.key} can be read by others than its owner; chmod 600 it")
            return self._load(paths, crt, key)

        return self._read((paths.crt, paths.key), parse, AuthenticationFailed, paths.given)

    def _load(self, paths: SidePaths, crt: bytes, key: bytes) -> Credentials:
        certificate = first_certificate(crt, paths.crt)
        for authenticator in self._suites.authenticators.available():
            if not authenticator.accepts(certificate):
                continue
            try:
                credentials = authenticator.load(crt, key)
            except AuthenticationFailed as e:
                raise AuthenticationFailed(f"{paths.crt}, {paths.key}: {e}") from None
            if credentials is None:
                raise AuthenticationFailed(f"{paths.key} is no {authenticator.name} key, as {paths.crt} needs it")
            return credentials
        known = ", ".join(a.name for a in self._suites.authenticators.available()) or "none"
        raise AuthenticationFailed(
            f"{paths.crt}: no authenticator takes this certificate; available: {known}"
            f"{self._suites.authenticators.missing}"
        )

    def static_key(self, side: Side, paths: SidePaths, encryption: Encryption) -> bytes | None:
        """The key file of client encapsulation, where there may be one (spec: oap.md 4.5). CryptError."""
        kex = self._suites.kexes.named(encryption.kex)
        client = side is Side.CLIENT
        if not isinstance(kex, KemSuite) or (client and encryption.kem_mode is KemMode.SERVER) or not paths.kex:
            return None
        path = f"{paths.kex}.{'raw' if kex.raw else 'pem'}"

        def parse(content: bytes) -> bytes:
            try:
                kex.load_public(content) if client else kex.load_private(content)
            except CryptError as e:
                raise CryptError(f"{path}: {e}") from None
            return content

        found = self._read((path,), parse, CryptError)
        if found is None and client:
            raise CryptError(f"{path} is missing: with kem_mode = client it has the server's public key")
        return found

    def store(self) -> tuple[bytes, ...]:
        """All certificates, DER, that peers' are checked against. AuthenticationFailed."""
        found = []
        for folder in STORE if self.directory else ():
            for path in self.store_files(folder):
                if os.path.islink(path) and not os.path.exists(path):
                    continue  # an authority less: nobody gets in by that
                certificate = self._read((path,), lambda c, p=path: first_certificate(c, p), AuthenticationFailed)
                if certificate is not None:
                    found.append(certificate)
        return tuple(found)

    def store_files(self, folder: str) -> list[str]:
        """Paths of the files in a directory of `STORE`. AuthenticationFailed."""
        path = f"{self.directory}/{folder}"
        try:
            return [f"{path}/{name}" for name in sorted(os.listdir(path)) if not name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as e:
            raise AuthenticationFailed(_unreadable(path, e)) from None

    # ------------------------------------------------------------ reading

    def _read(
        self,
        paths: tuple[str, ...],
        parse: Callable[..., T],
        error: type[OuroError],
        given: frozenset[str] = frozenset(),
    ) -> T | None:
        """What `parse` makes of the contents of these files; None when one is missing. `error`: one cannot be read, or
        is missing though the name was created with one of them.
        """
        stamps = [_stamp(path, error) if path else None for path in paths]
        if None in stamps:
            self._cache.pop(paths, None)
            if not given.isdisjoint(paths):
                raise error(f"{paths[stamps.index(None)]} is missing: the name was created with it, or with its pair")
            return None
        entry = self._cache.get(paths)
        if entry is None or not entry.settled or entry.stamps != stamps:
            entry = self._cache[paths] = self._parsed(paths, stamps, parse, error)
        if entry.error is not None:
            raise type(entry.error)(str(entry.error))
        found: T = entry.value
        return found

    @staticmethod
    def _parsed(paths: tuple[str, ...], stamps: _Stamps, parse: Callable[..., T], error: type[OuroError]) -> _Entry:
        settled = all(stamp is None or time.time_ns() - stamp[-1] > _SETTLED for stamp in stamps)
        try:
            return _Entry(stamps, settled, parse(*(_content(path, error) for path in paths)))
        except OuroError as e:
            return _Entry(stamps, settled, None, e)


def first_certificate(content: bytes, path: str) -> bytes:
    """The first PEM certificate of a file, DER. AuthenticationFailed."""
    from cryptography import x509  # here, for most programs that embed an IRM have no certificates
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in certificates of others
            return x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    except (ValueError, TypeError, x509.InvalidVersion) as e:
        reason = str(e).split("\n")[0].rstrip(".")
        raise AuthenticationFailed(f"{path} has no readable PEM certificate: {reason}") from None


def _stamp(path: str, error: type[OuroError]) -> tuple[int, ...] | None:
    """What changes with a file, the time of the last change in the end. None: it does not exist."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise error(f"{path} is a link to something that is not there; restore that, or remove the link") from None
        return None
    except OSError as e:
        raise error(_unreadable(path, e)) from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: str, error: type[OuroError]) -> bytes:
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error(f"{path} is no regular file")
            content = file.read(MAX_FILE + 1)
    except OSError as e:
        raise error(_unreadable(path, e)) from None
    if len(content) > MAX_FILE:
        raise error(f"{path} is longer than {MAX_FILE} bytes: it is no security file")
    return content


def _unreadable(path: str, e: OSError) -> str:
    return f"cannot read {path}: {e.strerror}; the IRMd runs as user {os.geteuid()} and needs it, or remove it"
