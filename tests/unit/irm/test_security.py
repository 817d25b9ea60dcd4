"""Security files: what is read from where, and that nothing which is wrong leaves a flow open."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.cli.certificates import Pair, issue, make_authority, write_pair
from ouro_core.contracts.crypto import Encapsulation, KemSuite, KeyPair
from ouro_core.irm.security import SecurityFiles, Side
from ouro_core.irm.security_conf import MAX_LINE, EncConf, parse_enc_conf
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.model.names import NameInfo
from ouro_core.oap import PLAIN, Encryption, KemMode, OapSuites, PqPolicy
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

SERVER, CLIENT = Side.SERVER, Side.CLIENT


class Kem(KemSuite):
    """Key files have to begin with "key"."""

    name, nid, rank = "toy-kem", 4711, 9

    def accepts(self, public: bytes) -> bool:
        return False

    def generate(self) -> KeyPair:
        raise CryptError("a toy")

    def encapsulate(self, public: bytes) -> Encapsulation:
        raise CryptError("a toy")

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        raise CryptError("a toy")

    def load_private(self, file: bytes) -> KeyPair:
        return KeyPair(file, self.load_public(file))

    def load_public(self, file: bytes) -> bytes:
        if not file.startswith(b"key"):
            raise CryptError("no toy key")
        return file


class Missing(Kem):
    name, nid, rank, unavailable = "toy-missing", 4712, 10, "needs a toy shop; install ouro-toys"


@pytest.fixture(scope="module")
def suites() -> OapSuites:
    plugins = PluginHost(select=())
    plugins.load()
    found = oap_suites(plugins)
    return OapSuites.of(
        found.digests, found.kdfs, found.ciphers, [*found.kexes, Kem(), Missing()], found.authenticators
    )


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_authority("Test CA", "p256", 10)


class Files:
    """A directory of security files, and what reads them."""

    def __init__(self, directory: Path, suites: OapSuites, authority: Pair) -> None:
        self.directory = directory
        self.authority = authority
        self.warnings: list[str] = []
        self.read = SecurityFiles(str(directory), suites, self.warnings.append)

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def issue(self, name: str, folder: str = "server/srv", algorithm: str = "p256") -> Pair:
        pair = issue(self.authority, name, algorithm, 10)
        write_pair(pair, self.directory / folder / "crt.pem", self.directory / folder / "key.pem", force=True)
        return pair


@pytest.fixture
def files(tmp_path: Path, suites: OapSuites, authority: Pair) -> Files:
    return Files(tmp_path / "security", suites, authority)


# ---------------------------------------------------------------- enc.conf

NONE = EncConf(None)


def conf(**values: Any) -> EncConf:
    return EncConf(Encryption(**values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", conf()),
        ("\n\n# a comment\n", conf()),
        ("kex=X25519", conf(kex="X25519")),
        ("  kex  =  X25519  \r\n", conf(kex="X25519")),
        ("kex=X25519\nkex=X448\n", conf(kex="X448")),
        ("cipher=chacha20-poly1305\nkdf=sha3-512\ndigest=blake2b512", None),
        ("kem_mode=client", conf(kem_mode=KemMode.CLIENT)),
        ("none", NONE),
        (" none \n", NONE),
        ("kex=X25519\nnone\nkex=nonsense\n", NONE),
        ("auth=required", EncConf(Encryption(), True)),
        ("auth=required\nauth=optional", conf()),
        ("\ufeffauth=required", EncConf(Encryption(), True)),
        ("auth=required\nnone", EncConf(None, True)),
        ("none\nauth=required", NONE),
        ("   # kex=nonsense", conf()),
        ("pqc=prefer", EncConf(Encryption(), pqc=PqPolicy.PREFER)),
        ("pqc = off\nkex = X25519\npqc = require", EncConf(Encryption(kex="X25519"), pqc=PqPolicy.REQUIRE)),
        ("pqc=off\nauth=required\nnone", EncConf(None, True, pqc=PqPolicy.OFF)),
        ("none\npqc=require", NONE),
        ("#" + "x" * (MAX_LINE - 1), conf()),
    ],
)
def test_enc_conf(suites: OapSuites, text: str, expected: EncConf | None) -> None:
    if expected is None:
        expected = conf(cipher="chacha20-poly1305", kdf="sha3-512", digest="blake2b512")
    assert parse_enc_conf(text.encode(), "enc.conf", suites) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# c\nkex=P-256", r'^enc\.conf:2: key exchange "P-256" is not known here; known: ffdhe2048, prime256v1'),
        ("cipher=AES-256-GCM", r"^enc\.conf:1: cipher .* known: aes-128-ctr"),
        ("kdf=md5", r"^enc\.conf:1: kdf .* known: blake2s256"),
        ("digest=SHA256", r"^enc\.conf:1: digest "),
        ("kex=", r'^enc\.conf:1: key exchange "" is not known'),
        ("#\nauht=required", r'^enc\.conf:2: unknown key "auht"; write auth if that is meant$'),
        ("Auth=required", r'^enc\.conf:1: unknown key "Auth"; write auth'),
        ("authentication=required", r"^enc\.conf:1: .*; write auth"),
        ("pcq=require", r"^enc\.conf:1: .*; write pqc"),
        ("a\0u\0t\0h\0=\0", r"^enc\.conf:1: a NUL byte.*UTF-8$"),
        ("kem_mode=both", r'^enc\.conf:1: unknown kem_mode "both"; known: server, client$'),
        ("auth=yes", r'^enc\.conf:1: unknown auth "yes"; known: optional, required$'),
        ("pqc=yes", r'^enc\.conf:1: unknown pqc "yes"; known: off, prefer, require$'),
        ("pqc=", r'^enc\.conf:1: unknown pqc ""; known: off, prefer, require$'),
        ("pqc=prefer # or not", r"^enc\.conf:1: .*; a comment needs a line of its own$"),
        ("#\npqc=require\nnone", r"^enc\.conf:2: pqc = require, and `none` makes the flow plain; remove one"),
        ("kex=X25519 # fast", r"^enc\.conf:1: .*; a comment needs a line of its own$"),
        (
            "kex=X25519\nkex=toy-missing",
            r"^enc\.conf:2: .*toy-missing is not available here: needs a toy shop; install",
        ),
        ("kex=nonsense\nkex=X25519", r"^enc\.conf:1: "),
        ("kex=nonsense\nnone", r"^enc\.conf:1: "),
        ("#" + "x" * MAX_LINE, r"^enc\.conf:1: a line of 256 bytes; at most 255 are read$"),
        ("kex=\xff\xfe", r"^enc\.conf:1: "),
    ],
)
def test_what_is_wrong_in_enc_conf_is_told_with_its_line(suites: OapSuites, text: str, message: str) -> None:
    with pytest.raises(CryptError, match=message):
        parse_enc_conf(text.encode("latin-1"), "enc.conf", suites)


def test_unknown_keys_are_ignored_as_the_prototype_does_but_not_in_silence(suites: OapSuites) -> None:
    found = parse_enc_conf(b"chipher=aes-128-gcm\nrubbish\nkex=X448\n", "/x/enc.conf", suites)
    assert found.encryption == Encryption(kex="X448")
    first, second = found.warnings
    assert first.startswith('/x/enc.conf:1: unknown key "chipher", ignored; known: kex, cipher, kdf')
    assert second.startswith('/x/enc.conf:2: "rubbish" is no `key = value`, ignored')


def test_defaults_must_be_available_as_well() -> None:
    with pytest.raises(CryptError, match=r"^enc\.conf: no line `kex = \.\.\.`, and of the default: key exchange"):
        parse_enc_conf(b"# nothing\n", "enc.conf", OapSuites.of())


@given(st.binary(max_size=300) | st.text(max_size=60).map(str.encode))
def test_any_bytes_give_a_configuration_or_crypt_error(content: bytes) -> None:
    plugins = PluginHost(select=())
    plugins.load()
    with contextlib.suppress(CryptError):
        found = parse_enc_conf(content, "enc.conf", oap_suites(plugins))
        assert all(warning.startswith("enc.conf:") for warning in found.warnings)


# ---------------------------------------------------------------- where files are


def test_a_name_without_files_is_plain(files: Files) -> None:
    assert files.read.security(SERVER, "srv") is PLAIN
    files.write("server/other/enc.conf", "")
    assert files.read.security(SERVER, "srv") is PLAIN
    assert files.read.security(CLIENT, "other") is PLAIN


def test_sides_have_files_of_their_own(files: Files) -> None:
    files.write("server/srv/enc.conf", "kex=X25519")
    files.write("client/srv/enc.conf", "kex=X448")
    for side, kex in ((SERVER, "X25519"), (CLIENT, "X448")):
        encryption = files.read.security(side, "srv").encryption
        assert encryption is not None
        assert encryption.kex == kex


def test_without_a_directory_only_given_paths_count(suites: OapSuites, tmp_path: Path) -> None:
    read = SecurityFiles("", suites)
    file = tmp_path / "some.conf"
    file.write_text("kex=X448")
    assert read.security(SERVER, "srv") is PLAIN
    assert read.store() == ()
    found = read.security(SERVER, "srv", NameInfo("srv", server_enc=str(file)))
    assert found.encryption == Encryption(kex="X448")
    assert read.security(CLIENT, "srv", NameInfo("srv", server_enc=str(file))) is PLAIN


def test_given_paths_stand_for_the_default_ones(files: Files, tmp_path: Path) -> None:
    files.write("server/srv/enc.conf", "kex=X25519")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("none")
    pair = files.issue("srv", "../keys")
    info = NameInfo(
        "srv", server_enc=str(elsewhere), server_crt=str(tmp_path / "keys/crt.pem"),
        server_key=str(tmp_path / "keys/key.pem"),
    )  # fmt: skip
    found = files.read.security(SERVER, "srv", info)
    assert found.encryption is None
    assert found.credentials is not None
    assert found.credentials.certificate == pair.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("what", ["enc", "crt", "key"])
def test_a_file_that_the_name_was_created_with_must_be_there(files: Files, tmp_path: Path, what: str) -> None:
    files.issue("srv")
    gone: dict[str, Any] = {f"server_{what}": str(tmp_path / "gone")}
    info = NameInfo("srv", **gone)
    with pytest.raises(CryptError if what == "enc" else AuthenticationFailed, match="gone is missing"):
        files.read.security(SERVER, "srv", info)


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc", ".", "..", "a//b", "a/", "a/./b"])
def test_a_name_leads_nowhere_else(files: Files, name: str) -> None:
    files.write("secret/enc.conf", "kex=nonsense")
    files.write("server/a/b/enc.conf", "kex=nonsense")
    assert files.read.folder(SERVER, name) == ""
    assert files.read.security(SERVER, name) is PLAIN
    assert not files.read.reserved(name)


def test_a_name_may_have_slashes_and_any_length(files: Files) -> None:
    files.write("server/a/b/enc.conf", "none")
    assert files.read.security(SERVER, "a/b").encryption is None
    assert files.read.security(SERVER, "a/b/enc.conf") is PLAIN
    assert files.read.security(SERVER, "x" * 255) is PLAIN
    assert files.read.reserved("a/b")


# ---------------------------------------------------------------- reading again


def test_changes_take_effect_at_once(files: Files) -> None:
    file = files.write("server/srv/enc.conf", "kex=X25519")
    for kex in ("X448", "X25519", "X448"):
        file.write_text(f"kex={kex}")
        assert files.read.security(SERVER, "srv").encryption == Encryption(kex=kex)
    file.unlink()
    assert files.read.security(SERVER, "srv") is PLAIN
    file.write_text("none")
    assert files.read.security(SERVER, "srv").encryption is None
    file.write_text("kex=nonsense")
    with pytest.raises(CryptError):
        files.read.security(SERVER, "srv")
    file.write_text("")
    assert files.read.security(SERVER, "srv").encryption == Encryption()


def test_what_did_not_change_is_not_read_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.issue("srv")
    files.write("server/srv/enc.conf", "typo=1")
    files.write("cacert/ca.pem", files.authority.certificate.public_bytes(Encoding.PEM))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**9)  # a second later
    first = files.read.security(SERVER, "srv")
    store = files.read.store()
    opened: list[str] = []
    real_open = os.open

    def open_(path: Any, *args: Any, **kwargs: Any) -> int:
        opened.append(str(path))
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    for _ in range(3):
        assert files.read.security(SERVER, "srv") == first
        assert files.read.store() == store
    assert opened == []
    assert len(files.warnings) == 1


def test_the_older_name_is_read_with_a_warning(files: Files) -> None:
    files.write("server/srv/enc.cfg", "kex=X448")
    assert files.read.security(SERVER, "srv").encryption == Encryption(kex="X448")
    assert any("enc.cfg: an enc.conf under its older name; rename it" in w for w in files.warnings)
    files.write("server/srv/enc.conf", "none")
    assert files.read.security(SERVER, "srv").encryption is None


# ---------------------------------------------------------------- files that are no good


def as_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def as_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def as_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def as_flood(file: Path) -> None:
    file.write_bytes(b"#" * (2 << 20))


@pytest.mark.parametrize("spoil", [as_directory, as_fifo, as_loop, as_dangling_link, as_flood])
@pytest.mark.parametrize("name", ["enc.conf", "crt.pem", "key.pem"])
def test_what_cannot_be_read_is_refused(files: Files, spoil: Callable[[Path], None], name: str) -> None:
    files.issue("srv")
    file = files.write("server/srv/enc.conf", "").parent / name
    spoil(file)
    for _ in range(2):
        with pytest.raises(CryptError if name == "enc.conf" else AuthenticationFailed, match=str(file)):
            files.read.security(SERVER, "srv")


def test_a_directory_that_is_a_link_to_nowhere_is_not_none(files: Files, tmp_path: Path) -> None:
    files.write("server/srv/enc.conf", "")
    folder = tmp_path / "security" / "server" / "srv"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert files.read.security(SERVER, "srv").encryption == Encryption()
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    with pytest.raises(CryptError, match="server/srv is a link to something that is not there"):
        files.read.security(SERVER, "srv")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user for a moment")
@pytest.mark.parametrize("name", ["enc.conf", "crt.pem", "key.pem", ""])
def test_no_permission_is_no_licence(files: Files, tmp_path: Path, name: str) -> None:
    files.issue("srv")
    file = files.write("server/srv/enc.conf", "").parent / name
    for directory in (tmp_path, *tmp_path.parents):
        if not os.stat(directory).st_mode & 0o001 and directory != Path("/tmp"):
            directory.chmod(0o755)
    file.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(
            (CryptError, AuthenticationFailed), match=r"cannot read .*: Permission denied; .* user 65534"
        ):
            files.read.security(SERVER, "srv")
    finally:
        os.seteuid(0)


def test_one_of_certificate_and_key_is_none(files: Files) -> None:
    files.issue("srv")
    (files.directory / "server/srv/key.pem").unlink()
    assert files.read.security(SERVER, "srv") == PLAIN


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("crt.pem", "no certificate", r"crt\.pem has no readable PEM certificate"),
        ("crt.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", r"crt\.pem has no readable"),
        ("key.pem", "no key", r"key\.pem: the key of the EC certificate cannot be read"),
        ("key.pem", "", r"key\.pem: the key of the EC certificate cannot be read"),
    ],
)
def test_credentials_that_are_none(files: Files, file: str, content: str, message: str) -> None:
    files.issue("srv")
    files.write(f"server/srv/{file}", content)
    with pytest.raises(AuthenticationFailed, match=message):
        files.read.security(SERVER, "srv")


def test_a_key_of_another_kind(files: Files) -> None:
    other = issue(files.authority, "srv", "ed25519", 10)
    files.issue("srv")
    pem = other.certificate.public_bytes(Encoding.PEM)
    files.write("server/srv/crt.pem", pem)
    with pytest.raises(AuthenticationFailed, match=r"key\.pem: the certificate has an EdDSA key, the key file has ano"):
        files.read.security(SERVER, "srv")


def test_an_encrypted_key_is_told_with_the_remedy(files: Files) -> None:
    key = load_pem_private_key(files.issue("srv").key_pem, None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        files.write("server/srv/key.pem", key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x")))
        with pytest.raises(AuthenticationFailed, match=r"key\.pem: .*encrypted.* openssl pkey"):
            files.read.security(SERVER, "srv")


def test_a_key_for_everybody_is_worth_a_warning(files: Files) -> None:
    files.issue("srv")
    key = files.directory / "server/srv/key.pem"
    key.chmod(0o640)
    assert files.read.security(SERVER, "srv").credentials is not None
    assert files.warnings == [f"{key} can be read by others than its owner; chmod 600 it"]


@pytest.mark.parametrize("algorithm", ["p256", "p384", "p521", "rsa2048", "ed25519", "ed448"])
def test_keys_of_every_kind(files: Files, algorithm: str) -> None:
    files.issue("srv", algorithm=algorithm)
    assert files.read.security(SERVER, "srv").credentials is not None


# ---------------------------------------------------------------- static keys


def test_static_keys_are_read_where_they_are_needed(files: Files) -> None:
    files.write("server/srv/enc.conf", "kex=toy-kem")
    files.write("client/srv/enc.conf", "kex=toy-kem\nkem_mode=client")
    assert files.read.security(SERVER, "srv").static_key is None
    with pytest.raises(CryptError, match=r"kex\.srv\.pub\.pem is missing: with kem_mode = client"):
        files.read.security(CLIENT, "srv")
    files.write("server/srv/kex.key.pem", "key private")
    files.write("client/srv/kex.srv.pub.pem", "key public")
    assert files.read.security(SERVER, "srv").static_key == b"key private"
    assert files.read.security(CLIENT, "srv").static_key == b"key public"
    files.write("client/srv/enc.conf", "kex=toy-kem")
    assert files.read.security(CLIENT, "srv").static_key is None


@pytest.mark.parametrize(("side", "file"), [(SERVER, "kex.key.pem"), (CLIENT, "kex.srv.pub.pem")])
def test_a_static_key_that_is_none(files: Files, side: Side, file: str) -> None:
    files.write(f"{side.value}/srv/enc.conf", "kex=toy-kem\nkem_mode=client")
    files.write(f"{side.value}/srv/{file}", "rubbish")
    with pytest.raises(CryptError, match=f"{file}: no toy key"):
        files.read.security(side, "srv")


def test_kem_mode_means_nothing_without_a_kem(files: Files) -> None:
    files.write("client/srv/enc.conf", "kex=X25519\nkem_mode=client")
    assert files.read.security(CLIENT, "srv").static_key is None


# ---------------------------------------------------------------- the store


def test_the_store_has_the_first_certificate_of_every_file(files: Files) -> None:
    second = make_authority("Other CA", "p384", 10)
    pems = [pair.certificate.public_bytes(Encoding.PEM) for pair in (files.authority, second)]
    ders = [pair.certificate.public_bytes(Encoding.DER) for pair in (files.authority, second)]
    assert files.read.store() == ()
    files.write("cacert/ca.pem", b"some words\n" + pems[0] + pems[1])
    files.write("cacert/.new", "half a file")
    (files.directory / "untrusted").mkdir()
    target = files.write("elsewhere", pems[1])
    (files.directory / "untrusted" / "link.pem").symlink_to(target)
    assert files.read.store() == tuple(ders)
    target.write_bytes(pems[0])
    assert files.read.store() == (ders[0], ders[0])
    target.unlink()
    assert files.read.store() == (ders[0],)


def test_a_store_with_a_bad_file_verifies_nobody(files: Files) -> None:
    files.write("cacert/ca.pem", files.authority.certificate.public_bytes(Encoding.PEM))
    files.write("cacert/notes.txt", "rubbish")
    with pytest.raises(AuthenticationFailed, match=r"cacert/notes\.txt has no readable PEM certificate"):
        files.read.store()
    files.write("cacert/notes.txt", "").unlink()
    (files.directory / "untrusted").write_text("no directory")
    with pytest.raises(AuthenticationFailed, match=r"cannot read .*untrusted: Not a directory"):
        files.read.store()
