"""What strangers send over a layer: flow requests that are none, too many, too old, too costly. The daemon is a real
one, so are its workers; the requests come in through an IPCP.
"""

import collections
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ouro_core.cli.certificates import Pair, issue, make_authority
from ouro_core.contracts.crypto import Credentials
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.oap import Encryption, OapClient, Security
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites
from ouro_core.testing.host import Host, end, eventually
from ouro_core.wire.der import BIT_STRING, NULL, SEQUENCE, elements, oid, take, value
from ouro_core.wire.oap import HEADER_SIZE, OapHeader

from . import medium

Answer: TypeAlias = tuple[int, str, bytes]
EAUTH, ECRYPT, ENOMEM, ETIMEDOUT, OK = -1009, -1008, -12, -110, 0
SUITES = oap_suites(PluginHost(select=()))
X25519 = Security(Encryption(kex="X25519"))

SERVER = """
import sys
from ouro_core import OuroError, announce, flow_accept
announce(sys.argv[1])
while True:
    try:
        flow_accept().close()
        print(0, flush=True)
    except OuroError as e:
        print(e.code, flush=True)
"""
CLIENT = """
import sys, time
from ouro_core import flow_alloc
times = []
for _ in range(int(sys.argv[2])):
    before = time.perf_counter()
    flow_alloc(sys.argv[1], timeout=30).close()
    times.append(time.perf_counter() - before)
    time.sleep(0.01)
times.sort()
print(*(f"p{share}={1000 * times[(len(times) - 1) * share // 100]:.2f}ms" for share in (50, 99, 100)))
"""
TRY = """
import sys
from ouro_core import OuroError, flow_alloc
for _ in range(int(sys.argv[2])):
    try:
        flow_alloc(sys.argv[1], timeout=30).close()
        print(0)
    except OuroError as e:
        print(e.code)
"""


class Besieged:
    """A daemon with the names "srv", encrypted and authenticated, and "other"; and strangers on its layer."""

    server: "subprocess.Popen[str]"

    def __init__(self, directory: Path) -> None:
        self.files = directory / "security"
        config = f'[irmd]\nsecurity = "{self.files}"\n[name.srv]\n[name.other]\n'
        config += f'[medium.m]\nbootstrap = "m"\nreg = ["srv", "other"]\ndirectory = "{directory}"\n'
        self.host = Host(directory, config)
        self.host.environment |= medium.install(directory / "site")
        self.stranger = directory / "socket"
        self.read = 0

    def __enter__(self) -> "Besieged":
        self.host.__enter__()
        self.host.ouro("pki", "init")
        self.host.ouro("pki", "issue", "srv")
        self.host.ouro("pki", "issue", "alice", "--client", "srv")
        for side in ("server", "client"):
            (self.files / side / "srv" / "enc.conf").write_text("kex = X25519\n")
        return self

    def __exit__(self, *why: Any) -> None:
        self.host.__exit__(*why)

    def serve(self, name: str) -> "subprocess.Popen[str]":
        server = self.host.python(SERVER, name)
        eventually(lambda: self.host.rib(f"names/{name}")["accepting"])
        return server

    def ask(self, requests: Sequence[bytes], pause: float | None = None, name: str = "srv") -> list[Answer]:
        """What strangers are answered: code, text and OAP message. The text stays with their IPCP. `pause`: seconds
        between requests, which do not wait for answers then.
        """
        hashed = hash_name(name, HashAlgorithm.SHA3_256).hex()
        found = []
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(os.fspath(self.stranger))
            with sock.makefile("rwb") as file:
                for request in requests:
                    file.write(json.dumps([hashed, request.hex()]).encode() + b"\n")
                    file.flush()
                    if pause is None:
                        found.append(file.readline())
                    else:
                        time.sleep(pause)
                if pause is not None:
                    found = [file.readline() for _ in requests]
        return [(code, text, bytes.fromhex(data)) for code, text, data in map(json.loads, found)]

    def accepted(self, count: int) -> list[int]:
        """The next codes that the server's accept calls gave."""
        assert self.server.stdout is not None
        return [int(self.server.stdout.readline()) for _ in range(count)]

    def refusals(self) -> list[str]:
        """The lines of the log since the last time that say who was refused."""
        lines = self.host.log.read_text().splitlines()
        new, self.read = lines[self.read :], len(lines)
        assert not [line for line in new if "Traceback" in line]
        return [line.split("(WW): ", 1)[1] for line in new if "(WW): " in line]

    def works(self) -> None:
        """The client of this host gets its flow, encrypted and authenticated."""
        done = self.host.run([sys.executable, "-c", CLIENT, "srv", "1"])
        assert done.returncode == 0, done.stderr

    def credentials(self, side: str = "client") -> Credentials:
        (found,) = (
            authenticator.load(*((self.files / side / "srv" / f"{file}.pem").read_bytes() for file in ("crt", "key")))
            for authenticator in SUITES.authenticators
            if authenticator.name == "EC"
        )
        assert found is not None
        return found

    def workers(self) -> list[int]:
        found = []
        for pid in self.host.descendants():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "ouro-worker":
                    found.append(pid)
        return found


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    with Besieged(tmp_path_factory.mktemp("city")) as running:
        yield running


@pytest.fixture
def besieged(city: Besieged) -> Iterator[Besieged]:
    """The one daemon that survives all of this file, with a fresh server."""
    assert city.host.daemon is not None
    before = city.host.daemon.pid
    city.server = city.serve("srv")
    city.refusals()
    yield city
    city.works()
    assert city.host.daemon.poll() is None
    assert city.host.daemon.pid == before
    end(city.server)
    eventually(lambda: city.host.status().flows == 0)


def request(security: Security = X25519, late: float = 0.0) -> bytes:
    return OapClient(SUITES).prepare("srv", b"", time.time_ns() - int(late * 1e9), security).request


def pem(pair: Pair) -> bytes:
    return pair.certificate.public_bytes(Encoding.PEM)


def number(n: int) -> bytes:
    """In DER."""
    return value(2, n.to_bytes(n.bit_length() // 8 + 1))


def put(message: bytes, offset: int, number: int) -> bytes:
    """With another number in a field of two bytes."""
    return message[:offset] + struct.pack(">H", number) + message[offset + 2 :]


# ---------------------------------------------------------------- headers


def all_refused(besieged: Besieged, requests: Sequence[bytes], *codes: int, name: str = "srv") -> None:
    """With one of these codes, on both sides, and a line of the log for each."""
    besieged.refusals()
    answers = besieged.ask(requests, name=name)
    assert {code for code, _, _ in answers} <= set(codes), [a for a in answers if a[0] not in codes]
    assert besieged.accepted(len(requests)) == [code for code, _, _ in answers]
    assert besieged.refusals() == [f"Refused a flow request for {name}: {text}" for _, text, _ in answers]


def test_cut_at_each_byte(besieged: Besieged) -> None:
    signed = request(attrs.evolve(X25519, credentials=besieged.credentials()))
    all_refused(besieged, [signed[:length] for length in range(len(signed))], EAUTH)


def test_each_field_of_the_header_with_numbers_that_lie(besieged: Besieged) -> None:
    plain, signed = request(), request(attrs.evolve(X25519, credentials=besieged.credentials()))
    fields = {24: "cipher", 26: "kdf", 28: "md", 30: "crt_len", 32: "kex_len", 34: "data_len"}
    lies = (0, 1, 35, 36, 43, 45, 0x3FFF, 0x4000, 0x402C, 0x8000, 0x802C, 0xC02C, 0xFFFF)
    requests = [put(message, offset, lie) for message in (plain, signed) for offset in fields for lie in lies]
    may_be_zero = {put(plain, 26, 0), put(plain, 28, 0), put(plain, 24, 0)}  # the server's own stand for those
    all_refused(besieged, [r for r in requests if r not in {plain, signed, *may_be_zero}], EAUTH, ECRYPT)


def test_bytes_behind_and_in_between(besieged: Besieged) -> None:
    signed = request(attrs.evolve(X25519, credentials=besieged.credentials()))
    rng = random.Random(4)
    requests = [request() + b"x", signed + b"x", request() * 2, signed + request()]
    requests += [signed[:at] + rng.randbytes(3) + signed[at:] for at in range(HEADER_SIZE, len(signed), 29)]
    requests += [os.urandom(rng.randrange(2000)) for _ in range(100)]
    for _ in range(100):
        changed = bytearray(signed)
        changed[rng.randrange(16, len(changed))] ^= 1 << rng.randrange(8)
        requests.append(bytes(changed))
    all_refused(besieged, requests, EAUTH, ECRYPT)


def test_as_long_as_messages_can_be(besieged: Besieged) -> None:
    header = OapHeader(os.urandom(16), time.time_ns(), 901, 672, 672)
    requests = [
        attrs.evolve(header, id=os.urandom(16), **fields).encode()
        for fields in (
            {"data": bytes(65535)},
            {"kex": bytes(16383)},
            {"kex": bytes(16383), "raw": True, "client_encaps": True},
            {"certificate": bytes(65535), "signature": b"s"},
            {"certificate": os.urandom(65535), "signature": os.urandom(200_000)},
            {"certificate": b"\x30\x80" * 32767, "kex": bytes(16383), "data": bytes(65535), "signature": bytes(65535)},
        )
    ]
    all_refused(besieged, requests, EAUTH, ECRYPT)


# ---------------------------------------------------------------- again, and at other times


def test_replays_and_clocks(besieged: Besieged) -> None:
    once = request()
    assert besieged.ask([once])[0][0] == OK
    assert besieged.accepted(1) == [OK]
    all_refused(besieged, [once, put(once, 28, 673), request(late=21), request(late=-1), request(late=1e6)], EAUTH)
    assert [code for code, _, _ in besieged.ask([request(late=19), request(late=-0.05)])] == [OK, OK]
    assert besieged.accepted(2) == [OK, OK]


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("name", ["srv", "other"])
def test_keys_of_no_use(besieged: Besieged, name: str) -> None:
    """Points of low order and off the curve, degenerate numbers of finite fields, keys of nobody, ciphertexts for keys
    we have not; at a name with an enc.conf, and at one without, which crashes the prototype (oap.md 8.3).
    """
    p25519 = 2**255 - 19
    xdh = [bytes.fromhex("302a300506032b656e032100") + u.to_bytes(32, "little") for u in (
        0, 1, p25519 - 1, p25519, p25519 + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )]  # fmt: skip
    x448 = [bytes.fromhex("3042300506032b656f033900") + u.to_bytes(56, "little") for u in (0, 1, 2**448 - 2**224 - 2)]
    curves = [
        bytes.fromhex(prefix) + b"\4" + point * size
        for prefix, size in (
            ("3076301006072a8648ce3d020106052b81040022036200", 48),
            ("30819b301006072a8648ce3d020106052b8104002303818600", 66),
        )
        for point in (b"\0\0", b"\1\1", b"\xff\xff")
    ]
    group = SUITES.kexes.named("ffdhe3072")
    p: int = group._p  # type: ignore[attr-defined]
    dh = [value(SEQUENCE, group._algorithm + value(BIT_STRING, b"\0" + number(y)))  # type: ignore[attr-defined]
          for y in (0, 1, p - 1, p, p + 1, p * p)]  # fmt: skip
    weak = value(SEQUENCE, value(SEQUENCE, oid("1.2.840.113549.1.3.1") + value(SEQUENCE, number(7) + number(2))) + b"")
    huge = value(SEQUENCE, value(SEQUENCE, oid("1.2.840.113549.1.3.1") + value(SEQUENCE, number(2**65536) + number(2))))
    good = OapHeader.decode(request())
    kexes = [*xdh, *x448, *curves, *dh, weak, huge, b"\0", b"\x30\x84\xff\xff\xff\xff", bytes(16383)]

    def fresh(**changes: Any) -> bytes:
        return attrs.evolve(good, id=os.urandom(16), **changes).encode()

    requests = [fresh(kex=kex) for kex in kexes]
    requests += [fresh(kex=os.urandom(n), raw=True) for n in (44, 1120, 1216, 1624)]
    requests += [fresh(kex=os.urandom(n), client_encaps=True, raw=raw) for n in (768, 1088, 1120) for raw in (0, 1)]
    if name != "srv":
        end(besieged.server)
        besieged.server = besieged.serve(name)
    all_refused(besieged, requests, ECRYPT, name=name)
    if name != "srv":
        end(besieged.server)
        besieged.server = besieged.serve("srv")


# ---------------------------------------------------------------- certificates


def with_key(certificate: bytes, spki: bytes, signer: Any) -> bytes:
    """The certificate with another public key in it, signed again."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    body, _ = take(SEQUENCE, certificate)
    signed, algorithm, _ = elements(body)
    parts = list(elements(take(SEQUENCE, signed)[0]))
    parts[6] = spki
    signed = value(SEQUENCE, b"".join(parts))
    signature = signer.sign(signed, ec.ECDSA(hashes.SHA256()))
    return value(SEQUENCE, signed + algorithm + value(BIT_STRING, b"\0" + signature))


def test_certificates_that_are_bombs(besieged: Besieged) -> None:
    """Keys of any size, on any curve, from a stranger and, worse, from somebody whom our own authority trusts."""

    def rsa(bits: int, exponent: int) -> bytes:
        n = random.Random(bits).getrandbits(bits) | 1 << bits - 1 | 1
        key = value(SEQUENCE, number(n) + number(exponent or n - 2))
        return value(SEQUENCE, value(SEQUENCE, oid("1.2.840.113549.1.1.1") + value(NULL, b"")) + value(3, b"\0" + key))

    def curve(parameters: bytes, point: bytes) -> bytes:
        return value(SEQUENCE, value(SEQUENCE, oid("1.2.840.10045.2.1") + parameters) + value(3, b"\0" + point))

    explicit = value(
        SEQUENCE,
        number(1) + value(SEQUENCE, oid("1.2.840.10045.1.1") + number(2**40000 - 1))
        + value(SEQUENCE, value(4, b"\1" * 5000) * 2) + value(4, b"\4" + bytes(10000)) + number(2**40000 - 1),
    )  # fmt: skip
    keys = [rsa(bits, e) for bits in (8, 2048, 16384, 200_000) for e in (1, 3, 65537, 0)]
    keys += [curve(oid("1.2.3.4"), b"\4" + bytes(64)), curve(oid("1.2.840.10045.3.1.7"), b"\4" + bytes(64))]
    keys += [curve(oid("1.2.840.10045.3.1.7"), b"\0"), curve(explicit, b"\4" + bytes(10000))]
    keys += [value(SEQUENCE, value(SEQUENCE, oid("1.3.101.112")) + value(3, b"\0" + bytes(32)))]
    ours: Any = load_pem_private_key((besieged.files / "pki" / "ca.key.pem").read_bytes(), None)
    foreign: Any = load_pem_private_key(make_authority("Foreign CA", "p256", 1).key_pem, None)
    good = besieged.credentials().certificate
    plain = OapHeader.decode(request())
    requests = []
    for signer in (ours, foreign):
        for spki in keys:
            certificate = with_key(good, spki, signer)
            for digest, signature in ((672, bytes(70)), (0, b"\1" * 25000)):
                header = attrs.evolve(plain, id=os.urandom(16), md_nid=digest, certificate=certificate)
                requests.append(attrs.evolve(header, signature=signature).encode())
    assert max(map(len, requests)) > 65536
    all_refused(besieged, requests, EAUTH)
    assert besieged.host.rib("irm/security")["overdue"] == besieged.host.rib("irm/security")["died"] == 0


def test_foreign_expired_and_wrong_certificates(besieged: Besieged) -> None:
    foreign = make_authority("Foreign CA", "p256", 10)
    stranger = issue(foreign, "alice", "p256", 10)
    credentials = besieged.credentials()
    (ec,) = (a for a in SUITES.authenticators if a.name == "EC")
    theirs = ec.load(pem(stranger), stranger.key_pem)
    assert theirs is not None
    mixed = Credentials(credentials.certificate, theirs.key)
    itself = ec.load(pem(foreign), foreign.key_pem)
    assert itself is not None
    requests = [request(attrs.evolve(X25519, credentials=c)) for c in (theirs, mixed, itself)]
    all_refused(besieged, requests, EAUTH)
    assert besieged.ask([request(attrs.evolve(X25519, credentials=credentials))])[0][0] == OK
    assert besieged.accepted(1) == [OK]


# ---------------------------------------------------------------- too many; workers that die


def test_a_flood_at_a_costly_name(besieged: Besieged) -> None:
    """A hundred costly requests a second, and more; -s shows how long allocations of this host take meanwhile."""
    besieged.host.ouro("pki", "issue", "srv", "--algorithm", "rsa4096", "--force")
    besieged.serve("other")
    before = besieged.host.run([sys.executable, "-c", CLIENT, "other", "100"]).stdout
    with ThreadPoolExecutor(1) as stranger:
        flood = stranger.submit(besieged.ask, [request() for _ in range(400)], pause=0.01)
        client = besieged.host.run([sys.executable, "-c", CLIENT, "other", "300"])
        answers = flood.result()
    assert client.returncode == 0, client.stderr
    print(f"\n{len(answers)} hostile requests; allocations without {before.strip()}, with {client.stdout.strip()}")
    assert {code for code, _, _ in answers} <= {OK, ENOMEM, ETIMEDOUT}
    assert OK in {code for code, _, _ in answers}
    besieged.host.ouro("pki", "issue", "srv", "--force")


def test_workers_killed_and_stopped_all_the_time(besieged: Besieged) -> None:
    besieged.works()
    refused = 0
    for round_ in range(12):
        besieged.ask([request()])
        for pid in besieged.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if round_ % 3 else signal.SIGSTOP)
        answers = besieged.ask([request() for _ in range(6)], pause=0)
        refused += sum(code != OK for code, _, _ in answers)
    print(f"\n{refused} of 72 refused")


# ---------------------------------------------------------------- files


def test_files_that_change_all_the_time(besieged: Besieged) -> None:
    """Whatever is found at the moment: a flow, or the refusal that it says; never a daemon that ends or hangs."""
    folder = besieged.files / "server" / "srv"
    good = {name: (folder / name).read_bytes() for name in ("enc.conf", "crt.pem", "key.pem")}
    rng = random.Random(7)
    contents = (b"", b"none\n", b"kex=X448\n", b"kex = rot13\n", b"\xff" * 300, good["crt.pem"][:100])

    def spoil(file: Path) -> None:
        with contextlib.suppress(IsADirectoryError):
            file.unlink(missing_ok=True)
        if file.is_dir():
            file.rmdir()
        match rng.randrange(6):
            case 0:
                file.mkdir()
            case 1:
                file.symlink_to("/nowhere")
            case 2:
                os.mkfifo(file)
            case 3 | 4:
                file.write_bytes(rng.choice(contents))
            case _:
                pass

    def restore() -> None:
        for name, content in good.items():
            if (folder / name).is_dir():
                (folder / name).rmdir()
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)

    client = besieged.host.python(TRY, "srv", "150")
    for step in itertools.count():
        if client.poll() is not None:
            break
        if step % 4 == 0:
            restore()
        else:
            spoil(folder / rng.choice(list(good)))
        time.sleep(0.02)
    restore()
    assert client.stdout is not None
    codes = collections.Counter(int(line) for line in client.stdout)
    print(f"\n{dict(codes)}")
    assert codes.total() == 150
    assert codes.keys() <= {OK, ECRYPT, EAUTH}
    assert len(codes) == 3


# ---------------------------------------------------------------- secrets


def test_no_key_in_log_and_rib(besieged: Besieged, tmp_path: Path) -> None:
    keylog = tmp_path / "keylog"
    besieged.host.environment["OURO_KEYLOG"] = str(keylog)
    besieged.works()
    del besieged.host.environment["OURO_KEYLOG"]
    (line,) = keylog.read_text().splitlines()  # the server began without
    key = line.split()[3]
    assert keylog.stat().st_mode & 0o777 == 0o600
    secrets = [key, str(bytes.fromhex(key))[2:-1]]
    for side in ("server", "client"):
        secrets += (besieged.files / side / "srv" / "key.pem").read_text().splitlines()[1:-1]
    shown = besieged.host.log.read_text() + besieged.host.ouro("rib", "cat") + besieged.host.ouro("pki", "show")
    shown += besieged.host.ouro("crypto", "check", "srv") + besieged.host.ouro("crypto", "check", "srv", "--json")
    assert not [secret for secret in secrets if secret in shown]
