"""A pair of hosts in one layer, Ouro's and the prototype's, and what is asked of them whatever the layer's type.

What the prototype does by chance is tried again, with another name: some of its replies go to nobody, for they are sent
before the requester's address is stored; queries are lost in a race; whether a name's enc.conf is read depends on what
was on its daemon's stack when the name was made (irmd.md 5), so now and then with a new daemon. A test fails when no
attempt gives what it should.
"""

import contextlib
import signal
from collections.abc import Callable, Mapping
from itertools import count
from typing import Final

from attrs import frozen

from ouro_core.testing.netns import join

from .hosts import Done, InteropHost, OuroHost, PrototypeHost, prototype

__all__ = ["ATTEMPTS", "LAYER", "PROGRAMS", "Case", "Files", "Pair", "Pairs"]

PROGRAMS = prototype()
LAYER: Final = "lay"
ATTEMPTS: Final = 8
USES: Final = 8
"""Of one daemon of the prototype: it does not give back all that it takes (62 SAPs, for instance)."""

STUCK: Final = (-1, -110, -1003, -1007)
"""What comes of allocations when it answers nobody any more: after a refusal, for instance (shims.md 1.6)."""

Files = Mapping[str, str]
Tell = Callable[[InteropHost, str, InteropHost], None]
"""Tells a host that a name is at another one."""
Enter = Callable[[OuroHost, PrototypeHost], Tell]
"""Makes both hosts members of the layer, over the devices `v0`, which are joined."""

NOTHING: Final[Files] = {}


def by_query(host: InteropHost, name: str, at: InteropHost) -> None:
    """Nobody needs to be told: the layer asks its members."""


class Pair:
    """Two hosts in a layer, which `enter` makes them members of; `ours` is Ouro's."""

    ours: OuroHost
    theirs: PrototypeHost
    tell: Tell

    def __init__(self, enter: Enter) -> None:
        self._enter = enter
        self._names = count()
        self._stack = contextlib.ExitStack()
        self.uses = 0
        self.start()

    def start(self) -> None:
        """Both hosts, new."""
        assert not isinstance(PROGRAMS, str)
        self.uses = 0
        self.ours = self._stack.enter_context(OuroHost())
        assert self.ours.run("ouro", "pki", "init").returncode == 0
        authority = (self.ours.security / "cacert" / "ca.pem").read_text()
        self.theirs = self._stack.enter_context(PrototypeHost(PROGRAMS, authority))
        join(self.ours.network, "v0", self.theirs.network, "v0")
        self.tell = self._enter(self.ours, self.theirs)

    def stop(self) -> None:
        self._stack.close()

    def renew(self) -> None:
        """The prototype has come to a standstill."""
        self.stop()
        self.start()

    def stop_servers(self) -> None:
        self.ours.stop_servers()
        self.theirs.stop_servers()

    def name(self) -> str:
        return f"name{next(self._names)}"

    def issue(self, name: str) -> Files:
        """Certificate and key for a name, of an authority that both hosts trust."""
        done = self.ours.run("ouro", "pki", "issue", name)
        assert done.returncode == 0, done.stdout + done.stderr
        folder = self.ours.security / "server" / name
        files = {file: (folder / file).read_text() for file in ("crt.pem", "key.pem")}
        for file in list(folder.iterdir()):
            file.unlink()
        folder.rmdir()
        return files


@frozen
class Case:
    """A pair, and who asks whom."""

    pair: Pair
    theirs_asks: bool

    @property
    def client(self) -> InteropHost:
        return self.pair.theirs if self.theirs_asks else self.pair.ours

    @property
    def server(self) -> InteropHost:
        return self.pair.ours if self.theirs_asks else self.pair.theirs

    def attempt(
        self,
        counts: Callable[[Done], bool],
        server: Callable[[str], Files] = lambda _: NOTHING,
        client: Callable[[str], Files] = lambda _: NOTHING,
        options: tuple[str, ...] = (),
    ) -> Done:
        """What comes of a ping to a new name that the server serves; of another one, until it `counts`. The functions
        give the security files of both sides.
        """
        seen = []
        for attempt in range(ATTEMPTS):
            name = self.pair.name()
            self.server.secure("server", name, server(name))
            self.client.secure("client", name, client(name))
            try:
                done = self._ask(name, options)
            except AssertionError as e:  # a command failed, or a server did not come up
                done = Done(name, -signal.SIGKILL, "", str(e))
            if counts(done):
                return done
            seen.append(f"{name}: {done.returncode} {done.stdout.strip()} {done.stderr.strip()}")
            stuck = done.returncode < 0 or any(f"flow: {code}." in done.stdout for code in STUCK)
            if stuck or attempt % 2:  # what is on a daemon's stack is often there for each name
                seen.append(self.pair.theirs.log()[-1000:])
                self.pair.renew()
            self.pair.stop_servers()
        raise AssertionError("\n".join([*seen, "ours:", self.pair.ours.log()[-2000:], self.pair.theirs.log()[-2000:]]))

    def _ask(self, name: str, options: tuple[str, ...]) -> Done:
        self.server.serve(name, LAYER)
        self.pair.tell(self.client, name, self.server)
        if self.theirs_asks:
            self.client.irm("name", "create", name)  # it looks for no name that it does not know
        return self.client.ping(name, *options)

    def works(self, server: Files = NOTHING, client: Files = NOTHING, options: tuple[str, ...] = ()) -> None:
        """Pings are answered."""
        complete = "3 packets transmitted, 3 received"
        self.attempt(lambda d: complete in d.stdout, lambda _: server, lambda _: client, options)

    def refused(self, code: int, server: Files = NOTHING, client: Files = NOTHING, why: str = "") -> None:
        """There is no flow, for a certain reason; `why` is in the log of the client's daemon."""
        words = f"Failed to allocate flow: {code}."
        self.attempt(lambda d: words in d.stdout and why in self.client.log(), lambda _: server, lambda _: client)


class Pairs:
    """A pair for each type, renewed now and then. `enter` knows how to make its members."""

    def __init__(self, enter: Mapping[str, Enter]) -> None:
        self._enter = enter
        self._pairs: dict[str, Pair] = {}

    def get(self, type_name: str) -> Pair:
        pair = self._pairs.get(type_name)
        if pair is None:
            pair = self._pairs[type_name] = Pair(self._enter[type_name])
        elif pair.uses >= USES or not pair.theirs.alive("e"):
            pair.renew()
        pair.uses += 1
        return pair

    def close(self) -> None:
        for pair in self._pairs.values():
            pair.stop()
