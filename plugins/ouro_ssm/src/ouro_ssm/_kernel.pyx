"""The native kernel: pools, rings and event sets in shared memory, and the objects that use them.

One extension module, in pieces: `_atomics` (words, futex, time), `_layout` (what lies where), `_segment` (mappings),
`_pool`, `_ring` (a packet's way, without Python), `_events`, `_packet` and `_flow` (what Python holds), `_broker`. Then
movers, threads that never hold the GIL: `_calls` (what only they ask of the system), `_tables` (edited by Python while
they are read), `_window`, `_mover` (waking, sleeping, telling), `_delivery`, `_thread` (what Python holds), `_pump`
and `_departures`, `_forwarder`.


THEORY OF OPERATION

Ownership. Each block of a pool has an owner word: 0 free, a client id (never used twice), or the tag of a ring. It is
the only truth about the block; bitmaps of free blocks are hints. The word changes hands like this, and at no instant
has a block two owners or none:

    writer   CAS 0 -> id    fill block    fill slot    store tag    publish head
    reader   copy slot, check it against the pool and the tag    copy block    store 0    publish tail    hint
    zero copy: the reader stores its id instead of 0; the packet stores a tag, or 0 by CAS, later

There is no lock in shared memory, hence none that a killed process could hold. What a death leaves is found by its
owner word: blocks with the client's id are freed at once, those with the tag of a ring when both sides of the flow
are gone (a survivor may still read them). A hint that was lost in between costs a scan of owner words, no block.

Rings. One process writes a ring and one reads it. Each keeps its own index, and a copy of the other's, in private
memory: what stands in the segment is for the other side, and is checked when it is read (a distance of more than 1024
puts the flow DOWN). A slot is copied once and checked in the copy. Several threads of a process work under the GIL:
it is held from `peek` to `publish`, and released only to spin and to sleep, where a thread touches nothing but waiter
words. So no further lock is needed; on an interpreter without a GIL this module brings the GIL back. An end that is
bound to a mover belongs to that thread instead, see below.

Sleeping. A waiter word says what the other side has to do: nothing, wake a futex, set a bit in an event set. A sleeper
(1) arms: stores its wish and remembers the word's new value, (2) a full fence, (3) looks again, (4) sleeps *on that
word*, if it still has that value. Its counterpart (a) publishes, (b) a full fence, (c) loads the word, and if there is
a wish (d) takes it, (e) does what it said. Taking clears the wish and counts up the rest of the word, so that an armed
value never comes back: without the count, a second thread that arms between (1) and (4) of a first, after the wish of
the first was taken, would send the first to sleep over what it waits for. A wish is taken by who grants it, or
withdrawn by the last sleeper of the process that comes back: under the GIL, or in the one thread of a mover. That
does not count up, and need not: nobody is left who could sleep on the old value. A ring has room for one wish. A
thread that sleeps on a ring which is in an event set as well overwrites the set's wish, and makes the set look again
when it comes back; the set never overwrites a thread's. A pool's waiter word is armed by many processes: bits are
or-ed into it, and never withdrawn. In a stream nobody sleeps, so it costs one fence and a load from a line that stays
shared.

Blocks for those who wait. Shards, hints and what is counted of both are advice: relaxed, and wrong for a moment
whenever two processes meet. Nothing is decided by them but where to look first. `hungry` (see `_pool`) is a time after
which it means nothing; who keeps away from blocks because of it sleeps no longer than that, so that nobody who dies or
stops can hold others up for more than a millisecond.

Why each order holds:
 * Packet before head: block, slot and tag are written before the release store of `head`; the reader's acquire load
   of `head` sees them all. The same edge orders the tag before the reader's check of it.
 * Tail after slot and block: the reader's loads come before its release stores of the owner word and of `tail`. Who
   gets the block does so by a CAS (acquire) that reads that 0, who fills the slot has loaded `tail` with acquire; so
   nobody overwrites what is still being copied.
 * No lost wake-up: (1)(2)(3) against (a)(b)(c) is Dekker's pattern: with a full fence on both sides at least one sees
   the other's store. If it is the sleeper, it does not sleep. If it is the counterpart, it takes the wish; a sleeper
   that has not reached the kernel yet finds another value there than it expects, for the kernel compares and queues in
   one step. This is why one sleeps on the waiter word and not on `head`: with two words a wake-up for the last sleep
   could be spent on the next one.
 * The full fence (b) is an explicit one after `head`. After `tail` it is the hint's fetch-or, a full barrier on x86;
   on other processors `ou_fence_after_rmw` adds it. A reader that frees no block (zero copy, keep-alive) fences
   itself, and so does a mover, which frees blocks before it gives back all their slots at once. `wwait`, which the
   reader loads, and the pool's waiter word are ordered by the same one.
 * Half empty: a writer that found the ring full sleeps until it is half empty. The reader compares the `head` in the
   segment (relaxed). It does not move while the writer sleeps. Were it older than that, the ring looks emptier than it
   is: the wish is granted early, and the writer looks at `tail` and arms again.
 * Event bits: the bit is set before the summary is loaded (a full barrier between); a taker exchanges the summary
   before the words. If the setter sees the summary set, the exchange that clears it comes later and so finds the bit.
   Then the lane's waiter word, as above: the same barrier is before its load. Bits are levels: a spurious one costs a
   look, and a reader arms its ring only after it saw it empty, looks again, and stays on the pending list otherwise.
   Who spins on a lane takes the bell's wish back first. Afterwards it arms again and looks, or takes what it saw.
 * State (CLOSED, DEAD, DOWN) is or-ed into both rings before all four wishes are taken and all sleepers woken. A
   sleeper looks at the state in its step (3), so it is Dekker's pattern again. The broker wakes even words without a
   wish: their waker may have died between (d) and (e).
 * attach against destroy: one stores `side` and loads `revoked`, the other the opposite, both with a full barrier.

Movers. An end that is bound to a mover is that thread's: it alone touches indices, slots and blocks of the end, from
`claim` until it has said that it let the end go (`Port.gone`, under the mover's lock). It has magazines of its own
(`PoolCopy`), because those of `Pool` are guarded by the GIL, and is the only reader of lane *bulk*. What both sides
write (`local`, states) is changed by atomic operations. Tables are edited by Python in place, entry by entry, or
exchanged as a whole; an old one is freed after a *quiescent point*. Python raises a generation; the thread copies it
where it holds nothing that it found in a table (the top of its loop, its spin), and writes 0 before it sleeps. Both
follow their store with a full fence before they read what the other wrote, so either Python sees the old value and
waits, or the thread sees the new table. Nothing in the loop blocks between two such points but the mover's lock, which
Python holds for a copy or a system call on an eventfd at most.

Forks. Mappings are not inherited (MADV_DONTFORK), so a child must not touch them: every object remembers the
generation of its process, counted by pthread_atfork, and refuses in another one.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import fcntl
import os
import stat

from ouro_core.contracts import packets
from ouro_core.contracts.packets import Event, State
from ouro_core.model.errors import (
    BadDescriptor, FlowDown, FlowPeer, FlowTimeout, InvalidArgument, NotAllocated, OutOfMemory, PacketsError,
    TooLong, WouldBlock,
)

include "_atomics.pxi"

cdef class Pool
cdef class Events
cdef class EventSet
cdef class Packet
cdef class EndCore
cdef class FlowEnd
cdef class MoverPort
cdef class MoverThread

include "_layout.pxi"
include "_segment.pxi"
include "_pool.pxi"
include "_ring.pxi"
include "_events.pxi"
include "_packet.pxi"
include "_flow.pxi"
include "_broker.pxi"
include "_calls.pxi"
include "_tables.pxi"
include "_window.pxi"
include "_mover.pxi"
include "_delivery.pxi"
include "_thread.pxi"
include "_pump.pxi"
include "_departures.pxi"
include "_pump_thread.pxi"
include "_forwarder.pxi"
include "_forwarder_thread.pxi"

packets.Packet.register(Packet)
packets.FlowEnd.register(FlowEnd)
packets.EventSet.register(EventSet)

if ou_watch_forks():
    raise ImportError("pthread_atfork failed: no memory")
