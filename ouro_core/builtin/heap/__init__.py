"""`heap`: packets within one process, the readable reference of the packet contract.

Theory of operation. Everything is a plain object. One re-entrant lock guards a broker and all that its clients hold;
whatever somebody can wait for (a packet, a slot, a block, an event) is a `Condition` on that lock. So each method is
one critical section that ends, or sleeps on one condition and looks again. Nothing spins: under the interpreter's lock
a busy wait only keeps the other side from running.

A pool (`pool.py`) counts blocks by size class as a shared-memory pool would, so that exhaustion, the share of the
receivers and TooLong are the same; the bytes themselves are ordinary objects. A flow (`flow.py`) is two `Side`s, each
with the queue of what it is to receive and its half of the state. A `HeapEnd` (`end.py`) is a handle on a side; `claim`
makes a second handle and disables the first. A grant is an 8-byte token into a dictionary of the process. Movers are
those of `ouro_core.builtin.movers`.
"""

from ...contracts.packets import PacketSystem
from ...hookspecs import hookimpl
from .broker import HeapPacketSystem

__all__ = ["OURO_API", "HeapPacketSystem", "ouro_register_pool_allocators"]

OURO_API = (1, 0)


@hookimpl
def ouro_register_pool_allocators() -> list[type[PacketSystem]]:
    """The packet system `heap`."""
    return [HeapPacketSystem]
