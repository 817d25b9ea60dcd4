"""The command line of the benchmark."""

import argparse
import os
import signal
import sys

from . import allocation, frct, idle, network, rtt, starting, stream
from .cases import Case, run
from .figures import Row
from .prototype import Missing, Prototype, find, private_places
from .report import machine, table, to_json
from .sides import Ours

RUNS, QUICK_RUNS = 7, 3


def main() -> int:
    """Measure, and print. The exit status says only whether the command line made sense."""
    options = _parse()
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    chosen = [
        case
        for module in (stream, frct, rtt, network, allocation, starting, idle)
        for case in module.cases(runs, options.quick)
        if not options.only or any(case.name.startswith(name) for name in options.only)
    ]
    if options.list:
        print(*(case.name for case in chosen), sep="\n")
        return 0
    if not chosen:
        print(f"no case is called {', '.join(options.only)}; --list shows all", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed programs have byte code, and start the faster for it
    prototype, why = _prototype() if not options.ours else (None, "not asked for")
    about = {**machine(), "prototype": why or "on PATH"}
    try:
        rows = _rows(chosen, prototype)
    finally:
        if prototype is not None:
            prototype.close()
        _say("")
    if options.json:
        print(to_json(rows, about))
    else:
        print(*(f"{name}: {value}" for name, value in about.items()), sep="; ")
        print(table(rows))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose names begin so; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--runs", type=int, help=f"of each side and case; {RUNS} without it, {QUICK_RUNS} when quick")
    parser.add_argument("--ours", action="store_true", help="leave the prototype alone")
    parser.add_argument("--json", action="store_true", help="print JSON, with the figure of every run")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


def _prototype() -> tuple[Prototype | None, str]:
    """The other side; or why there is none."""
    try:
        programs = find(os.environ.get("PATH", ""))
        private_places()
        return Prototype(programs), ""
    except Missing as e:
        return None, str(e)


def _rows(cases: list[Case], prototype: Prototype | None) -> list[Row]:
    rows: list[Row] = []
    try:
        for case in cases:
            if case.over:
                both = network.sides(case.over, prototype.programs if prototype else None)
            else:
                both = Ours(direct=not case.layer), prototype
            rows += run(case, [side for side in both if side is not None], _say)
    except KeyboardInterrupt:
        print("\ninterrupted; what follows was measured before", file=sys.stderr)
    return rows


def _say(text: str) -> None:
    """Progress, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
