"""The command line of the walk. Exit status 1: a combination failed."""

import argparse
import sys
import tempfile
from pathlib import Path

from ouro_core.oap import HYBRID, OapSuites
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

from .walk import Walk, certificates, combinations, each_once, missing, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description="Every key exchange, cipher and kdf.")
    parser.add_argument("--layer", action="store_true", help="flows over a layer; without it they are direct")
    parser.add_argument("--quick", action="store_true", help="every suite once, not every combination")
    parser.add_argument("--certificates", action="store_true", help="instead, every kind of certificate, five times")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="of this key exchange or certificate; may be repeated"
    )
    options = parser.parse_args()
    suites = oap_suites(PluginHost.from_environment())
    if options.certificates:
        asked = [c for c in certificates(suites, HYBRID if _hybrid(suites) else "X25519") for _ in range(5)]
    else:
        asked = each_once(suites) if options.quick else combinations(suites)
    if options.only:
        asked = [c for c in asked if {c.kex, c.certificate}.intersection(options.only)]
    with (
        tempfile.TemporaryDirectory(prefix="ouro-suites-") as directory,
        Walk(Path(directory), suites, options.layer) as walk,
    ):
        outcomes = walk.run(asked, _say)
    _say("")
    way = "over a layer" if options.layer else "direct"
    print(f"passes{'' if options.certificates else ' by kdf'}, flows {way}; allocation: the median")
    print(table(outcomes))
    for suite in missing(suites):
        print(f"not available: {suite.name}: {suite.unavailable}")
    return int(any(outcome.error for outcome in outcomes))


def _hybrid(suites: OapSuites) -> bool:
    return any(kex.name == HYBRID for kex in suites.kexes.available())


def _say(text: str) -> None:
    """Progress, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
