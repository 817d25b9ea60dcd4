"""The walk over combinations of suites, one real flow each."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Final

from attrs import frozen

from ouro_core.contracts.crypto import Suite
from ouro_core.oap import OapSuites
from ouro_core.testing.host import Host, eventually

__all__ = ["Combination", "Outcome", "Walk", "combinations", "each_once", "missing", "table"]

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
        with flow_alloc("srv", timeout=30) as flow:
            took = time.perf_counter() - before
            for size in 1, 1400:
                packet = os.urandom(size)
                flow.write(packet)
                flow.read_timeout = 10
                assert flow.read() == packet[::-1], "another packet came back"
            assert not flow.counters["undecryptable"], flow.counters
        print(json.dumps(["", took]), flush=True)
    except (OuroError, AssertionError) as e:
        print(json.dumps([f"{type(e).__name__}: {e}", 0]), flush=True)
"""


@frozen
class Combination:
    """Names of suites."""

    kex: str
    cipher: str
    kdf: str

    @property
    def conf(self) -> str:
        """An enc.conf that asks for it."""
        return f"kex = {self.kex}\ncipher = {self.cipher}\nkdf = {self.kdf}\n"


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


def missing(suites: OapSuites) -> list[Suite]:
    """Those that a plugin registered and that do not work here."""
    return [suite for suite in chain(suites.kexes, suites.ciphers, suites.kdfs) if suite.unavailable is not None]


def _names(suites: OapSuites) -> list[list[str]]:
    """Of the available key exchanges, ciphers and kdfs."""
    available = suites.kexes.available(), suites.ciphers.available(), suites.kdfs.available()
    return [[suite.name for suite in table] for table in available]


class Walk:
    """A daemon, a server and a client. A context manager. `layer`: flows go over a layer of type local."""

    def __init__(self, directory: Path, layer: bool = False) -> None:
        self._files = directory / "security"
        self._keylog = directory / "keys"
        config = f'[irmd]\nsecurity = "{self._files}"\ndirect = {str(not layer).lower()}\n[name.srv]\n'
        if layer:
            config += '[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
        self._host = Host(directory, config, ("--debug", "oap"))
        self._host.environment["OURO_KEYLOG"] = str(self._keylog)
        self._keys: set[str] = set()

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
            say(f"{number} of {len(asked)}: {combination.kex} {combination.cipher} {combination.kdf}")
            found.append(self._try(combination))
        return found

    def _try(self, asked: Combination) -> Outcome:
        for side in ("server", "client"):
            conf = self._files / side / "srv" / "enc.conf"
            conf.parent.mkdir(parents=True, exist_ok=True)
            conf.write_text(asked.conf)
        logged = self._host.log.stat().st_size
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write("\n")
        self._client.stdin.flush()
        error, seconds = json.loads(self._client.stdout.readline() or '["the client ended", 0]')
        return Outcome(asked, error or self._negotiated(asked, logged) or self._one_key(asked), seconds)

    def _negotiated(self, asked: Combination, logged: int) -> str:
        """What is wrong with the answer's header."""
        text = self._host.log.read_bytes()[logged:].decode()
        answer = [header for header in text.split("OAP_HDR [") if "Req Hash: [" in header]
        wanted = (f"Cipher: {asked.cipher}\n", f"KDF: HKDF-{asked.kdf}\n")
        wrong = [line.strip() for line in wanted if not answer or line not in _plain(answer[-1])]
        return f"the server's answer has no {', '.join(wrong)}" if wrong else ""

    def _one_key(self, asked: Combination) -> str:
        """What is wrong with the keys."""
        lines = [line.split(" ") for line in self._keylog.read_text().splitlines()]
        self._keylog.write_text("")
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
    """A line a key exchange, a column a cipher: how many of the kdfs passed; then the failures, each with its error."""
    kexes, ciphers = (list(dict.fromkeys(getattr(o.asked, kind) for o in outcomes)) for kind in ("kex", "cipher"))
    rows = [["", *ciphers, "allocation"]]
    for kex in kexes:
        cells = [[o for o in outcomes if (o.asked.kex, o.asked.cipher) == (kex, cipher)] for cipher in ciphers]
        passed = [f"{sum(not o.error for o in cell)}/{len(cell)}" if cell else "-" for cell in cells]
        times = sorted(o.seconds for o in outcomes if o.asked.kex == kex and not o.error)
        rows.append([kex, *passed, f"{1000 * times[len(times) // 2]:.1f} ms" if times else "-"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, aligned, strict=True)]
    failed = [o for o in outcomes if o.error]
    lines += [f"FAILED {o.asked.kex} {o.asked.cipher} {o.asked.kdf}: {o.error}" for o in failed]
    return "\n".join([*lines, f"{len(outcomes) - len(failed)} of {len(outcomes)} passed"])
