"""What the demo shows: boxes and colours on a terminal that has them, plain text elsewhere."""

import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from .figures import Result

__all__ = ["IPCP", "LAYER", "Screen"]

IPCP: Final = "demo-ipcp"
LAYER: Final = "demo-layer"

_SIMPLE: Final = str.maketrans("┌┐└┘┬┴─│◂▸", "++++++-|<>")
"""What stands for lines where there are none."""


class Screen:
    """`silent`: it shows nothing."""

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent
        terminal = sys.stdout.isatty()
        self._boxes = terminal and (sys.stdout.encoding or "").lower().startswith("utf")
        self._steps = 0

    def say(self, text: str) -> None:
        """Plain words."""
        if not self.silent:
            click.echo(text)  # colours are dropped where they cannot be seen

    def step(self, text: str) -> None:
        """The next part of the story."""
        self._steps += 1
        self.say(click.style(f"\n{self._steps}. {text}", bold=True))

    def typed(self, line: str, remark: str = "", prompt: str = "$") -> None:
        """What a user would type."""
        shown = f"   {click.style(prompt, dim=True)} {click.style(line, fg='green')}"
        self.say(f"{shown}   {click.style('# ' + remark, dim=True)}" if remark else shown)

    def picture(self, client: int, server: int, ipcp: int) -> None:
        """The layer, and who is on it; process ids."""
        left, right = f"client, process {client}", f"server, process {server}"
        inside = f'layer "{LAYER}": IPCP {IPCP} (local), process {ipcp}'
        side, half, gap = "─" * 25, "─" * 12, " " * 9
        rows = [
            f"┌{side}┐{gap}┌{side}┐",
            f"│{left:^25}│◂─ flow─▸│{right:^25}│",
            f"└{half}┬{half}┘{gap}└{half}┬{half}┘",
            f"{' ' * 13}│{' ' * 35}│",
            f"┌{half}┴{'─' * 35}┴{half}┐",
            f"│{inside:^61}│",
            f"└{'─' * 61}┘",
        ]
        self._draw(rows)

    def picture_of_two(self, programs: tuple[int, int], ipcps: tuple[int, int], addresses: tuple[str, ...]) -> None:
        """Two hosts, a layer across, and who is on it; process ids."""
        side, half, gap = "─" * 25, "─" * 12, " " * 9
        words = [f"client, process {programs[0]}", f"server, process {programs[1]}"]
        members = [f"IPCP, process {ipcp}" for ipcp in ipcps]
        rows = [
            f"{'host h1':^27}{gap}{'host h2':^27}",
            f"┌{side}┐{gap}┌{side}┐",
            f"│{words[0]:^25}│◂─ flow─▸│{words[1]:^25}│",
            f"└{half}┬{half}┘{gap}└{half}┬{half}┘",
            f"{' ' * 13}│{' ' * 35}│",
            f"┌{half}┴{half}┐{gap}┌{half}┴{half}┐",
            f"│{members[0]:^25}│◂─ UDP ─▸│{members[1]:^25}│",
            f"│{addresses[0]:^25}│{gap}│{addresses[1]:^25}│",
            f"└{side}┘{gap}└{side}┘",
        ]
        self._draw(rows)

    def line_of_hosts(self, hosts: list[tuple[str, str, str]], links: list[bool]) -> None:
        """Hosts in a line: (host, member, address) of each, and whether the links between them work."""
        side, gap = "─" * 17, " " * 7
        between = ["◂─────▸" if link else "◂─ x ─▸" for link in links]
        boxes = [f"│{member + ' ' + address:^17}│" for _, member, address in hosts]
        joined = "".join(box + link for box, link in zip(boxes, [*between, ""], strict=True))
        rows = [
            gap.join(f"{'host ' + host:^19}" for host, _, _ in hosts),
            gap.join(f"┌{side}┐" for _ in hosts),
            joined,
            gap.join(f"└{side}┘" for _ in hosts),
        ]
        self._draw(rows)

    def _draw(self, rows: list[str]) -> None:
        self.say("")
        for row in rows:
            shown = row if self._boxes else row.translate(_SIMPLE)
            self.say("   " + click.style(shown, fg="cyan"))

    def result(self, result: "Result") -> None:
        """Tables of the figures."""
        trips, streams = result.figures["round_trip"], result.figures["one_way"]
        self.say(click.style(f"\nRound trips, 64 bytes, {trips['returned']} of {trips['sent']} came back", bold=True))
        names = ("min", "median", "mean", "p99", "max")
        self.say("   " + "".join(f"{name:>11}" for name in names))
        self.say("   " + "".join(f"{trips[f'{name}_us']:>8.1f} µs" for name in names))
        self.say(click.style("\nOne way", bold=True))
        self.say(f"   {'bytes':>8}{'a call':>9}{'sent':>10}{'arrived':>10}{'packets/s':>12}{'Gbit/s':>9}")
        for s in streams:
            counts = f"{s['size']:>8}{s['batch']:>9}{s['sent']:>10}{s['arrived']:>10}"
            self.say(f"   {counts}{s['packets_per_second']:>12,}{s['bits_per_second'] / 1e9:>9.2f}")
        self.say("")
