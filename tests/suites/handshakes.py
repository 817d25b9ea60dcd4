"""How long the cryptography of one handshake takes, and how long its messages are: `python -m tests.suites.handshakes`.

Both sides in one process, no files and no sockets: what is left is what the suites cost. In the table are, each in the
median of some runs, milliseconds of processor time of the client (request and response together) and of the server, and
bytes of request and response.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

from attrs import evolve, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from ouro_core.cli.certificates import issue, make_authority
from ouro_core.contracts.crypto import Authenticator, KemSuite
from ouro_core.oap import Encryption, KemMode, OapClient, OapServer, OapSuites, ReplayGuard, Security
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

__all__ = ["Cost", "Handshake", "exchanges", "measure", "signed", "table"]

NAME = "srv"
BRIEF = 1.0
"""Seconds for the runs of one handshake; one is done at least."""


@frozen
class Handshake:
    """What both sides bring."""

    label: str
    client: Security
    server: Security


@frozen
class Cost:
    """Milliseconds of processor time, and bytes."""

    label: str
    client: float
    server: float
    request: int
    response: int


def exchanges(suites: OapSuites) -> Iterator[Handshake]:
    """Every key exchange, in every mode, unsigned."""
    for kex in suites.kexes.available():
        plain = Security(Encryption(kex.name))
        yield Handshake(kex.name, plain, plain)
        if isinstance(kex, KemSuite):
            private, public = kex.new_files()
            client = Security(Encryption(kex.name, kem_mode=KemMode.CLIENT), static_key=public)
            yield Handshake(f"{kex.name}, client encapsulates", client, evolve(plain, static_key=private))


def signed(suites: OapSuites, kex: str) -> Iterator[Handshake]:
    """A key exchange with every kind of certificate that signs encrypted flows, of the server, and of both sides."""
    for family in suites.authenticators.available():
        for kind in family.key_kinds if family.name != "EdDSA" else ():
            shows = _shows(suites, family, kind, kex)
            checks = evolve(shows, credentials=None)
            yield Handshake(f"{kex}, {kind}", checks, shows)
            yield Handshake(f"{kex}, {kind} on both sides", shows, shows)


def _shows(suites: OapSuites, family: Authenticator, kind: str, kex: str) -> Security:
    makers = list(suites.authenticators.available())
    authority = make_authority("Times", kind, 1, makers)
    pair = issue(authority, NAME, kind, 1, makers)
    credentials = family.load(pair.certificate.public_bytes(Encoding.PEM), pair.key_pem)
    return Security(Encryption(kex), credentials, (authority.certificate.public_bytes(Encoding.DER),))


def measure(suites: OapSuites, handshake: Handshake, brief: float = BRIEF) -> Cost:
    """Do it some times."""
    runs: list[tuple[float, float]] = []
    client, server = OapClient(suites), OapServer(suites, ReplayGuard())
    until = time.perf_counter() + brief
    while not runs or time.perf_counter() < until:
        now = time.time_ns()  # of all steps: some signatures take longer than a request is good for
        start = time.process_time()
        context = client.prepare(NAME, b"", now, handshake.client)
        asked = time.process_time()
        response, accepted = server.process(context.request, b"", now, handshake.server)
        answered = time.process_time()
        allocated = client.complete(context, response, now)
        done = time.process_time()
        assert allocated.key == accepted.key
        runs.append((asked - start + done - answered, answered - asked))
    times = [1000 * median(column) for column in zip(*runs, strict=True)]
    return Cost(handshake.label, times[0], times[1], len(context.request), len(response))


def table(costs: Sequence[Cost]) -> str:
    """One line a handshake."""
    rows = [("", "client ms", "server ms", "request", "response")]
    rows += [(c.label, f"{c.client:.2f}", f"{c.server:.2f}", f"{c.request}", f"{c.response}") for c in costs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.suites.handshakes", description=__doc__)
    parser.add_argument("--certificates", metavar="KEX", help="this key exchange with every kind of certificate")
    parser.add_argument("--brief", type=float, default=BRIEF, metavar="SECONDS", help="for each; %(default)g")
    options = parser.parse_args()
    suites = oap_suites(PluginHost.from_environment())
    asked = signed(suites, options.certificates) if options.certificates else exchanges(suites)
    costs = []
    for handshake in asked:
        costs.append(measure(suites, handshake, options.brief))
        print(table(costs[-1:]).splitlines()[1], file=sys.stderr, flush=True)
    print(table(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
