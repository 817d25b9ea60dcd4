"""The command line of the walk. Exit status 1: a combination failed."""

import argparse
import sys
import tempfile
from pathlib import Path

from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

from .walk import Walk, combinations, each_once, missing, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description="Every key exchange, cipher and kdf.")
    parser.add_argument("--layer", action="store_true", help="flows over a layer; without it they are direct")
    parser.add_argument("--quick", action="store_true", help="every suite once, not every combination")
    parser.add_argument("--only", metavar="KEX", action="append", help="of this key exchange; may be repeated")
    options = parser.parse_args()
    suites = oap_suites(PluginHost.from_environment())
    asked = each_once(suites) if options.quick else combinations(suites)
    if options.only:
        asked = [combination for combination in asked if combination.kex in options.only]
    with tempfile.TemporaryDirectory(prefix="ouro-suites-") as directory, Walk(Path(directory), options.layer) as walk:
        outcomes = walk.run(asked, _say)
    _say("")
    print(f"passes by kdf, flows {'over a layer' if options.layer else 'direct'}; allocation: the median")
    print(table(outcomes))
    for suite in missing(suites):
        print(f"not available: {suite.name}: {suite.unavailable}")
    return int(any(outcome.error for outcome in outcomes))


def _say(text: str) -> None:
    """Progress, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
