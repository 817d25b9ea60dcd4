"""`make bench-dht`: how well names are found, in virtual time, beside an emulation of the prototype's DHT.

    python -m ouro_dht.testing.bench [--full] [--seed N] [--plots FOLDER] [--jobs N] [--only WORD]...

Every case is one layer, and a function of its seed, so as many run at once as there are processors. Times are virtual;
how long a run takes says nothing.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import log2
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any, Final, TypeAlias

from attrs import frozen

from .layer import Layer, Place, Summary

__all__ = ["Row", "main"]

SIZES: Final = (16, 64, 128, 256, 512, 1024, 2048)
MORE_SIZES: Final = (4096, 10000)
PROTOTYPE_SIZES: Final = (16, 32, 64, 128, 256, 512)
NAMES: Final = 200
QUERIES: Final = 500
HOUR: Final = 3600.0


@frozen
class Row:
    """One line of the table. Traffic is what a member sends in an hour; None: not measured."""

    scenario: str
    members: int
    seed: int
    result: Summary
    messages: float | None = None
    size: float | None = None
    note: str = ""

    def __str__(self) -> str:
        r = self.result
        traffic = "" if self.messages is None or self.size is None else f"{self.messages:.0f} | {self.size / 1000:.0f}"
        return (
            f"| {self.scenario} | {self.members} | {self.seed} | {100 * r.success:.1f} % | {100 * r.in_time:.1f} % "
            f"| {r.rounds:g} | {r.mean_rounds:.2f} | {r.messages:.1f} | {1000 * r.seconds:.0f} | {1000 * r.slow:.0f} "
            f"| {traffic or '| '} | {self.note} |"
        )


HEAD: Final = """\
| layer | members | seed | found | in 200 ms | rounds, median | mean | messages a query | ms, median | ms, 95 % \
| messages an hour | kB an hour | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def _grown(members: int, seed: int, prototypes: float = 0.0, **more: Any) -> tuple[Layer, float]:
    """A layer that has settled, and the messages that joining cost a member."""
    layer = Layer(seed, **more)
    layer.grow(members, prototypes=prototypes)
    layer.run(10.0)
    return layer, sum(p.sent for p in layer.places.values()) / members


def _named(layer: Layer, names: int = NAMES, among: Sequence[Place] | None = None) -> list[bytes]:
    keys = layer.names(names, among)
    layer.run(20.0)
    return keys


# ---------------------------------------------------------------- scenarios


def plain(members: int, seed: int) -> Row:
    """No faults; then an hour in which nobody asks anything."""
    layer, joining = _grown(members, seed)
    keys = _named(layer)
    result = layer.survey(keys, QUERIES)
    messages, size = layer.traffic(HOUR)
    goal = log2(members) / 4 + 1
    return Row(
        "Ouro", members, seed, result, messages, size, f"goal {goal:.2f} rounds; joining: {joining:.0f} messages"
    )


def prototype(members: int, seed: int) -> Row:
    layer, joining = _grown(members, seed, 1.0)
    keys = _named(layer)
    result = layer.survey(keys, QUERIES)
    messages, size = layer.traffic(HOUR)
    return Row("prototype", members, seed, result, messages, size, f"joining: {joining:.0f} messages")


def mixed(members: int, seed: int, share: float) -> list[Row]:
    """A part of the members is the prototype's. Each kind asks."""
    layer, _ = _grown(members, seed, share)
    keys = _named(layer)
    rows = []
    for word, kind in (("prototype's", True), ("Ouro's", False)):
        asking = [p for p in layer.places.values() if p.prototype is kind]
        result = layer.survey(keys, QUERIES, asking)
        note = f"out of reach: {100 * result.hopeless:.1f} %" if kind else ""
        rows.append(Row(f"{100 * share:.0f} % prototype: {word} queries", members, seed, result, None, None, note))
    return rows


def gone(members: int, seed: int, restarts: int) -> list[Row]:
    """Some of ours restart among nine times as many of the prototype's. These are not told, ask who is gone, and give
    up when there is no route to one of three. Later they have the answers of the others.
    """
    layer, _ = _grown(members, seed, 0.9, oracle=True)
    keys = _named(layer)
    for _ in range(restarts):
        place = layer.rng.choice([p for p in layer.places.values() if not p.prototype])
        names = [key for key, holders in layer.holders.items() if place.address in holders]
        layer.remove(place)
        layer.run(2.0)
        again = layer.add(layer.rng.choice(list(layer.places.values())))
        layer.run(5.0)
        for key in names:
            layer.register(again, key)
        layer.run(20.0)
    asking = [p for p in layer.places.values() if p.prototype]
    word = f"90 % prototype, {restarts} of ours restarted:"
    return [
        Row(f"{word} prototype's queries", members, seed, layer.survey(keys, QUERIES, asking)),
        Row(f"{word} tried twice", members, seed, layer.survey(keys, QUERIES, asking, tries=2)),
    ]


def loss(members: int, seed: int) -> Row:
    layer, _ = _grown(members, seed, loss=0.1)
    return Row("10 % loss", members, seed, layer.survey(_named(layer), QUERIES))


def departures(members: int, seed: int) -> Row:
    """Nobody is told, no route is lost, nothing is published again."""
    layer, _ = _grown(members, seed)
    keys = _named(layer, 400)
    for place in layer.rng.sample(list(layer.places.values()), round(0.3 * members)):
        layer.remove(place)
    return Row("30 % gone silently", members, seed, layer.survey(keys, 2 * QUERIES))


def churn(members: int, seed: int) -> Row:
    """Each minute, for an hour, one in fifty leaves silently and another comes. Servers stay."""
    layer, _ = _grown(members, seed)
    servers = layer.rng.sample(list(layer.places.values()), members // 4)
    keys = _named(layer, NAMES, servers)
    stays = set(servers)
    before = sum(p.sent for p in layer.places.values())
    for _ in range(60):
        moving = max(1, members // 50)
        for place in layer.rng.sample([p for p in layer.places.values() if p not in stays], moving):
            layer.remove(place)
        for _ in range(moving):
            layer.add(layer.rng.choice(list(layer.places.values())))
        layer.run(60.0)
    messages = (sum(p.sent for p in layer.places.values()) - before) / members
    result = layer.survey(keys, QUERIES)
    return Row(
        "churn: 2 % a minute, 1 h", members, seed, result, None, None, f"{messages:.0f} messages a member and hour"
    )


def partition(members: int, seed: int) -> list[Row]:
    """An hour in two halves that nobody is told of, then one layer again."""
    layer, _ = _grown(members, seed)
    keys = _named(layer)
    places = list(layer.places.values())
    halves = places[: members // 2], places[members // 2 :]
    for place in halves[1]:
        place.side = 1
    layer.run(HOUR)
    new = _named(layer, NAMES, halves[0])
    rows = [Row("an hour in halves: in the own half", members, seed, layer.survey(new, QUERIES, halves[0]))]
    for place in halves[1]:
        place.side = 0
    layer.run(layer.config.dht_t_refresh)
    rows.append(Row("15 min after: names of the other half", members, seed, layer.survey(new, QUERIES, halves[1])))
    rows.append(Row("15 min after: older names", members, seed, layer.survey(keys, QUERIES)))
    return rows


def masses(members: int, seed: int) -> Row:
    """10,000 names at once, anywhere."""
    layer, _ = _grown(members, seed)
    sent = sum(p.sent for p in layer.places.values())
    begin = layer.now
    keys = layer.names(10000)
    layer.run(1.0)

    def published() -> int:
        return sum(p.directory.counters.published for p in layer.places.values())  # type: ignore[attr-defined]

    while published() < len(keys) and layer.now - begin < 300.0:
        layer.run(0.5)
    took = layer.now - begin
    cost = (sum(p.sent for p in layer.places.values()) - sent) / len(keys)
    result = layer.survey(keys, 2 * QUERIES)
    return Row(
        "10,000 names at once",
        members,
        seed,
        result,
        None,
        None,
        f"all out in {took:.1f} s; {cost:.1f} messages a name",
    )


def restarts(members: int, seed: int) -> Row:
    """Half of the servers restart: another id, another address, and the old ones are still in the directory."""
    layer, _ = _grown(members, seed)
    servers = layer.rng.sample(list(layer.places.values()), 40)
    keys = []
    for server in servers:
        keys += layer.names(5, [server])
    layer.run(20.0)
    for i, server in enumerate(servers[:20]):
        layer.remove(server)
        again = layer.add(layer.rng.choice(list(layer.places.values())))
        layer.run(1.0)
        for key in keys[5 * i : 5 * i + 5]:
            layer.register(again, key)
    layer.run(10.0)
    return Row("servers restarted elsewhere", members, seed, layer.survey(keys, QUERIES))


# ---------------------------------------------------------------- all of it


Case: TypeAlias = tuple[Callable[..., Row | list[Row]], int, int, *tuple[float, ...]]
"""(function, members, seed, more)"""


def _cases(full: bool, seed: int) -> list[Case]:
    cases: list[Case] = []
    for size in (*SIZES, *(MORE_SIZES if full else ())):
        cases += [(plain, size, s) for s in range(seed, seed + (3 if size <= 256 else 1))]
    cases += [(prototype, size, seed) for size in (*PROTOTYPE_SIZES, *((1024, 2048) if full else ()))]
    for share in (0.5, 0.9):
        for size in (16, 64, 128):
            cases += [(mixed, size, s, share) for s in range(seed, seed + (3 if share > 0.5 else 1))]
    cases.append((gone, 64, seed, 3))
    cases += [(loss, size, seed) for size in (128, 512, *((2048,) if full else ()))]
    cases += [(departures, 512, s) for s in range(seed, seed + 3)]
    return [*cases, (churn, 256, seed), (partition, 256, seed), (masses, 128, seed), (restarts, 128, seed)]


def _run(case: Case) -> tuple[list[Row], str]:
    """The rows of a case, and how long it took."""
    function, *arguments = case
    begin = process_time()
    found = function(*arguments)
    rows = found if isinstance(found, list) else [found]
    words = " ".join(map(str, (function.__name__, *arguments)))
    return rows, f"{words}: {process_time() - begin:.0f} s"


def plot(rows: Sequence[Row], folder: Path) -> None:
    """Success, rounds and traffic against the number of members."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ours = _mean([r for r in rows if r.scenario == "Ouro"])
    theirs = _mean([r for r in rows if r.scenario == "prototype"])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8), dpi=80, layout="constrained")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("members")
        axis.grid(alpha=0.3)
    left.plot(*_points(ours, lambda r: 100 * r.result.success), "o-", label="Ouro")
    for share, mark in (("50 %", "^--"), ("90 %", "v--")):
        among = _mean([r for r in rows if r.scenario == f"{share} prototype: prototype's queries"])
        left.plot(*_points(among, lambda r: 100 * r.result.success), mark, label=f"prototype, {share} of the members")
    left.plot(*_points(theirs, lambda r: 100 * r.result.success), "s-", label="prototype alone (emulated)")
    left.set_ylabel("names found, %")
    left.set_ylim(0, 105)
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize="small")
    sizes = sorted(ours)
    right.plot(*_points(ours, lambda r: r.result.mean_rounds), "o-", label="Ouro, mean")
    right.plot(sizes, [log2(n) / 4 + 1 for n in sizes], ":", color="gray", label="log2(N)/4 + 1")
    right.set_ylabel("rounds of a lookup")
    right.set_ylim(0)
    right.legend(loc="lower right")
    figure.savefig(folder / "dht-lookups.png")
    pyplot.close(figure)

    figure, axis = pyplot.subplots(figsize=(4.6, 3.4), dpi=80, layout="constrained")
    axis.set_xscale("log", base=2)
    axis.plot(*_points(ours, lambda r: (r.size or 0) / 1000), "o-", label="Ouro")
    axis.plot(*_points(theirs, lambda r: (r.size or 0) / 1000), "s-", label="prototype (emulated)")
    axis.set_xlabel("members")
    axis.set_ylabel("kB a member and hour, idle, 200 names")
    axis.set_ylim(0)
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right")
    figure.savefig(folder / "dht-traffic.png")
    pyplot.close(figure)


def _mean(rows: Sequence[Row]) -> dict[int, list[Row]]:
    by_size: dict[int, list[Row]] = {}
    for row in rows:
        by_size.setdefault(row.members, []).append(row)
    return by_size


def _points(by_size: dict[int, list[Row]], value: Callable[[Row], float]) -> tuple[list[int], list[float]]:
    sizes = sorted(by_size)
    return sizes, [sum(map(value, by_size[n])) / len(by_size[n]) for n in sizes]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-dht", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--full", action="store_true", help="up to 10,000 members")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="scenarios, by the name of their function")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases that run at once")
    parser.add_argument("--plots", type=Path, help="folder for the pictures")
    chosen = parser.parse_args(arguments)
    cases = [c for c in _cases(chosen.full, chosen.seed) if not chosen.only or c[0].__name__ in chosen.only]
    print(HEAD, flush=True)
    rows: list[Row] = []
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        large_first = sorted(cases, key=lambda case: -case[1])
        running = {case: pool.submit(_run, case) for case in large_first}
        for case in cases:
            found, took = running[case].result()
            rows += found
            print(*found, sep="\n", flush=True)
            print(took, file=sys.stderr, flush=True)
    if chosen.plots is not None:
        plot(rows, chosen.plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
