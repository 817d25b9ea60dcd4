"""The walk over combinations of suites, one real flow each."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Final

import attrs
from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding

from ouro_core.cli.certificates import issue, make_authority, write_pair
from ouro_core.contracts.crypto import Suite
from ouro_core.oap import OapSuites
from ouro_core.testing.host import Host, eventually

__all__ = ["Combination", "Outcome", "Walk", "certificates", "combinations", "each_once", "missing", "table"]

SERVER: Final = """
from ouro_core import OuroError, announce, flow_accept
announce("srv")
while True:
    try:
        with flow_accept() as flow:
            for packet in flow:
                flow.write(packet[::-1])
    except OuroError as e:
        print(e, flush=True)
"""
"""Says every packet backwards: one that was not decrypted is not the other's when it comes back."""
CLIENT: Final = """
import json, os, sys, time
from ouro_core import OuroError, flow_alloc
for _ in sys.stdin:
    before = time.perf_counter()
    try:
        with flow_alloc("srv", timeout=60) as flow:
            took = time.perf_counter() - before
            for size in 1, 1400:
                packet = os.urandom(size)
                flow.write(packet)
                flow.read_timeout = 10
                assert flow.read() == packet[::-1], "another packet came back"
            assert not flow.counters.get("undecryptable"), flow.counters
        print(json.dumps(["", took]), flush=True)
    except (OuroError, AssertionError) as e:
        print(json.dumps([f"{type(e).__name__}: {e}", 0]), flush=True)
"""


@frozen
class Combination:
    """Names of suites."""

    kex: str
    """"" for a plain flow."""
    cipher: str = "aes-256-gcm"
    kdf: str = "sha256"
    certificate: str = ""
    """Kind of the key that both sides show a certificate of; "" for none."""

    @property
    def conf(self) -> str:
        """An enc.conf that asks for it."""
        auth = "auth = required\n" if self.certificate else ""
        return auth + (f"kex = {self.kex}\ncipher = {self.cipher}\nkdf = {self.kdf}\n" if self.kex else "none\n")


@frozen
class Outcome:
    """Of one combination. `error` "": it passed. `seconds`: of the allocation."""

    asked: Combination
    error: str
    seconds: float


def combinations(suites: OapSuites) -> list[Combination]:
    """All of the available suites, weakest first."""
    return [Combination(*names) for names in product(*_names(suites))]


def each_once(suites: OapSuites) -> list[Combination]:
    """So few that every available suite is in one at least."""
    columns = _names(suites)
    return [Combination(*(column[i % len(column)] for column in columns)) for i in range(max(map(len, columns)))]


def certificates(suites: OapSuites, kex: str) -> list[Combination]:
    """One with each kind of certificate. EdDSA signs no flow that is encrypted (oap.md 7.4)."""
    kinds = [(kind, family.name) for family in suites.authenticators.available() for kind in family.key_kinds]
    return [Combination("" if family == "EdDSA" else kex, certificate=kind) for kind, family in kinds]


def missing(suites: OapSuites) -> list[Suite]:
    """Those that a plugin registered and that do not work here."""
    return [suite for suite in chain(suites.kexes, suites.ciphers, suites.kdfs) if suite.unavailable is not None]


def _names(suites: OapSuites) -> list[list[str]]:
    """Of the available key exchanges, ciphers and kdfs."""
    available = suites.kexes.available(), suites.ciphers.available(), suites.kdfs.available()
    return [[suite.name for suite in table] for table in available]


class Walk:
    """A daemon, a server and a client. A context manager. `layer`: flows go over a layer of type local."""

    def __init__(self, directory: Path, suites: OapSuites, layer: bool = False) -> None:
        self._makers = list(suites.authenticators.available())
        self._files = directory / "security"
        self._keylog = directory / "keys"
        config = f'[irmd]\nsecurity = "{self._files}"\ndirect = {str(not layer).lower()}\n[name.srv]\n'
        if layer:
            config += '[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
        self._host = Host(directory, config, ("--debug", "oap"))
        self._host.environment["OURO_KEYLOG"] = str(self._keylog)
        self._keys: set[str] = set()
        self._shown = ""

    def __enter__(self) -> "Walk":
        self._host.__enter__()
        try:
            self._host.python(SERVER)
            eventually(lambda: self._host.rib("names/srv")["accepting"], what="the server accepts")
            self._client = subprocess.Popen(
                [sys.executable, "-c", CLIENT], env=self._host.environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        except BaseException:
            self._host.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *why: object) -> None:
        self._client.kill()
        self._client.communicate()
        self._host.__exit__(None, None, None)

    def run(self, asked: Sequence[Combination], say: Callable[[str], None] = lambda text: None) -> list[Outcome]:
        """The outcome of each. `say` is told how it goes."""
        found = []
        for number, combination in enumerate(asked, 1):
            say(f"{number} of {len(asked)}: {' '.join(attrs.astuple(combination))}")
            found.append(self._try(combination))
        return found

    def _try(self, asked: Combination) -> Outcome:
        for side in ("server", "client"):
            conf = self._files / side / "srv" / "enc.conf"
            conf.parent.mkdir(parents=True, exist_ok=True)
            conf.write_text(asked.conf)
        self._show(asked.certificate)
        logged = self._host.log.stat().st_size
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write("\n")
        self._client.stdin.flush()
        error, seconds = json.loads(self._client.stdout.readline() or '["the client ended", 0]')
        return Outcome(asked, error or self._negotiated(asked, logged) or self._one_key(asked), seconds)

    def _show(self, kind: str) -> None:
        """Let both sides have certificates of this kind, by an authority of the same."""
        if kind == self._shown:
            return
        self._shown = kind
        for side in ("server", "client"):
            for file in ("crt.pem", "key.pem"):
                (self._files / side / "srv" / file).unlink(missing_ok=True)
        if not kind:
            return
        authority = make_authority("Walk", kind, 2, self._makers)
        ca = self._files / "cacert" / "ca.pem"
        ca.parent.mkdir(exist_ok=True)
        ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        for side in ("server", "client"):
            folder = self._files / side / "srv"
            write_pair(issue(authority, "srv", kind, 1, self._makers), folder / "crt.pem", folder / "key.pem", True)

    def _negotiated(self, asked: Combination, logged: int) -> str:
        """What is wrong with the answer's header."""
        text = self._host.log.read_bytes()[logged:].decode()
        answer = [header for header in text.split("OAP_HDR [") if "Req Hash: [" in header]
        wanted = (f"Cipher: {asked.cipher}\n", f"KDF: HKDF-{asked.kdf}\n") if asked.kex else ("Cipher: <none>\n",)
        if asked.certificate and answer and "Signature: <none>" in _plain(answer[-1]):
            return "the server's answer is not signed"
        wrong = [line.strip() for line in wanted if not answer or line not in _plain(answer[-1])]
        return f"the server's answer has no {', '.join(wrong)}" if wrong else ""

    def _one_key(self, asked: Combination) -> str:
        """What is wrong with the keys."""
        lines = [line.split(" ") for line in self._keylog.read_text().splitlines()]
        self._keylog.write_text("")
        if not asked.kex:
            return f"{len(lines)} ends of a plain flow logged keys" if lines else ""
        ciphers, keys = {line[2] for line in lines}, {line[3] for line in lines}
        if len(lines) != 2 or ciphers != {asked.cipher} or len(keys) != 1:
            return f"{len(lines)} ends logged {len(keys)} keys for {', '.join(sorted(ciphers)) or 'no cipher'}"
        if keys & self._keys:
            return "the key is one that another flow had"
        self._keys |= keys
        return ""


def _plain(text: str) -> str:
    """Without the colours of a log line."""
    return text.replace("\x1b[0m", "")


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a key exchange and certificate, a column a cipher: how many passed; then the failures and their errors."""
    ciphers = list(dict.fromkeys(o.asked.cipher for o in outcomes))
    labels = list(dict.fromkeys(_label(o) for o in outcomes))
    rows = [["", *ciphers, "allocation"]]
    for label in labels:
        cells = [[o for o in outcomes if (_label(o), o.asked.cipher) == (label, cipher)] for cipher in ciphers]
        passed = [f"{sum(not o.error for o in cell)}/{len(cell)}" if cell else "-" for cell in cells]
        times = sorted(o.seconds for o in outcomes if _label(o) == label and not o.error)
        rows.append([label, *passed, f"{1000 * times[len(times) // 2]:.1f} ms" if times else "-"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, aligned, strict=True)]
    failed = [o for o in outcomes if o.error]
    lines += [f"FAILED {_label(o)} {o.asked.cipher} {o.asked.kdf}: {o.error}" for o in failed]
    return "\n".join([*lines, f"{len(outcomes) - len(failed)} of {len(outcomes)} passed"])


def _label(outcome: Outcome) -> str:
    asked = outcome.asked
    return f"{asked.kex or 'plain'}, {asked.certificate}" if asked.certificate else asked.kex
