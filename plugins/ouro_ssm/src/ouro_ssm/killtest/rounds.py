"""The rounds: victims, survivors, bystanders, and what is asked after each."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from attrs import define, field

from ouro_core.contracts.packets import ClientRef, Domain, FlowEnd, Geometry, SizeClass
from ouro_core.model.errors import FlowDown, OuroError

from ..broker import SsmBroker
from ..system import SsmPacketSystem
from .processes import Helper, send
from .roles import PATIENCE, READERS, SIZES, VICTIMS, WRITERS, Bad, Check, ask, is_hang
from .trace import possible, step_and_kill

__all__ = ["Result", "run"]

_ROOMY: Final = Geometry((SizeClass(256, 4096), SizeClass(2048, 2048)))
"""Rings fill up before this pool does."""
_TIGHT: Final = Geometry((SizeClass(256, 48), SizeClass(2048, 48)))
"""Here it is the other way round."""
_LONGEST: Final = 0.008
"""Seconds until a kill."""
_STEPS: Final = 400
"""Instructions in the kernel until a kill: a packet takes less."""
_RING: Final = 1 << 31


@define
class Result:
    """What came out. `packets` were read by survivors; `faults` say what was wrong."""

    rounds: int = 0
    packets: int = 0
    bad: int = 0
    leaks: int = 0
    hangs: int = 0
    passed: int = 0
    kills: Counter[str] = field(factory=Counter)
    faults: list[str] = field(factory=list)

    @property
    def good(self) -> bool:
        """Nothing bad, leaked or hanging."""
        return not (self.bad or self.leaks or self.hangs)

    def summary(self) -> str:
        """One line."""
        return f"rounds {self.rounds}, packets {self.packets}, bad {self.bad}, leaks {self.leaks}, hangs {self.hangs}"

    def details(self) -> str:
        """How victims were killed, what bystanders did, and every fault."""
        kills = ", ".join(f"{count} {how}" for how, count in sorted(self.kills.items()))
        return "\n".join([f"killed: {kills}; packets of bystanders: {self.passed}", *self.faults])


# ---------------------------------------------------------------- one broker


class _Host:
    """A broker with a bystander in its shared pool."""

    def __init__(self, geometry: Geometry) -> None:
        self.broker: SsmBroker = SsmPacketSystem.broker(geometry, geometry)
        self._id = 0
        self._bystander = Helper("bystander")
        ref = self.new_ref()
        send(self._bystander.control, self.broker.admit(ref))
        flow = self.broker.create_flow(0, ref, ref)
        for end in range(2):
            send(self._bystander.control, flow.grant(end))
        self._bystander.hear()
        self._ref, self._flow = ref, flow

    def new_ref(self) -> ClientRef:
        self._id += 1
        return ClientRef(self._id, Domain())

    def owned_by(self, *owners: int) -> int:
        """Blocks."""
        return sum(row.get(owner, 0) for row in self.broker._domains[0].pool.owners() for owner in owners)

    def end(self, result: Result) -> None:
        self._bystander.control.send(b"x")
        try:
            heard = self._bystander.hear()
        except TimeoutError:
            heard = {"passed": 0, "fault": "the bystander does not answer"}
            result.hangs += 1
            self._bystander.process.kill()
        result.passed += heard["passed"]
        if heard["fault"]:
            result.bad += 1
            result.faults.append(f"bystander: {heard['fault']}")
        self._bystander.close()
        self.broker.leave(self._ref, died=False)
        self._flow.destroy()
        left = {name: n for name, n in self.broker.counters().items() if name.endswith(".used") and n}
        if left:
            result.leaks += 1
            result.faults.append(f"in use at the end: {left}")
        self.broker.close()


class _Round:
    """One victim and one survivor, which is this process."""

    def __init__(self, host: _Host, zygote: Helper, choose: random.Random, result: Result, trace: bool) -> None:
        self._host, self._zygote, self._result = host, zygote, result
        self.role = choose.choice(list(VICTIMS))
        size = choose.choice(SIZES)
        self._delay = choose.uniform(0, _LONGEST)
        self._steps = choose.randrange(_STEPS) if trace and choose.random() < 0.5 else None
        self._check = Check()
        self._survive = self._survivor(choose, size)
        self._mine, self._theirs = host.new_ref(), host.new_ref()
        admitted = [host.broker.admit(ref) for ref in (self._mine, self._theirs)]
        self._flow = host.broker.create_flow(self._mine.id, self._mine, self._theirs)
        zygote.control.send(json.dumps([self.role, size]).encode())
        for grant in (admitted[1], self._flow.grant(1)):
            send(zygote.control, grant)
        self._pid = zygote.hear()["pid"]
        self._client = SsmPacketSystem.client(admitted[0].data, [os.dup(fd) for fd in admitted[0].fds])

    def _survivor(self, choose: random.Random, size: int) -> Callable[[Any, FlowEnd], None]:
        if self.role == "echo":
            return lambda client, end: ask(client, end, self._check, size)
        if self.role in WRITERS:
            read = READERS[choose.choice(list(READERS))]
            return lambda client, end: read(client, end, self._check)
        write = WRITERS[choose.choice(list(WRITERS))]
        return lambda client, end: write(client, end, size)

    def run(self) -> None:
        grant = self._flow.grant(0)
        end = self._client.attach(grant.data, [os.dup(fd) for fd in grant.fds], PATIENCE)
        killer = threading.Thread(target=self._kill)
        killer.start()
        try:
            self._survive(self._client, end)
        except FlowDown:
            arrived = end.sequence()[1]
            if self.role in WRITERS and arrived != self._check.next:
                self._fault("bad", f"{arrived} packets arrived, {self._check.next} were read")
        except Bad as e:
            self._fault("bad", str(e))
        except OuroError as e:
            self._fault("hangs" if is_hang(e) else "bad", f"{type(e).__name__}: {e}")
        killer.join()
        self._result.packets += self._check.next
        end.close()
        tags = [_RING | self._flow._tag | n for n in range(2)]
        self._client.close()
        self._host.broker.leave(self._mine, died=False)
        self._flow.destroy()
        self._host.broker.counters()  # a sweep
        if left := self._host.owned_by(self._mine.id, self._theirs.id, *tags):
            self._fault("leaks", f"{left} blocks are left")

    def _kill(self) -> None:
        time.sleep(self._delay)
        if self._steps is None:
            os.kill(self._pid, signal.SIGKILL)
            how = "timed"
        else:
            how = step_and_kill(self._pid, self._steps)
        self._result.kills[how] += 1
        while (heard := self._zygote.hear()) != {"ended": self._pid}:
            self._fault("bad", f"the victim says {heard}")
        self._host.broker.leave(self._theirs, died=True)

    def _fault(self, kind: str, words: str) -> None:
        setattr(self._result, kind, getattr(self._result, kind) + 1)
        self._result.faults.append(f"{kind}: round {self._result.rounds}, {self.role} was killed: {words}")


def run(rounds: int, seed: int) -> Result:
    """So many rounds."""
    choose, result = random.Random(seed), Result()
    untraced = possible()
    if untraced:
        result.faults.append(f"no kills at instructions here: {untraced}")
    with closing(Helper("zygote")) as zygote:
        hosts = [_Host(geometry) for geometry in (_ROOMY, _TIGHT)]
        for _ in range(rounds):
            result.rounds += 1
            _Round(choose.choice(hosts), zygote, choose, result, untraced is None).run()
        for host in hosts:
            host.end(result)
    return result
