"""The native kernel: pools, rings, event sets in shared memory, and the objects that use them.

THEORY OF OPERATION will follow.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import fcntl
import os

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

include "_layout.pxi"
include "_segment.pxi"
include "_pool.pxi"
include "_ring.pxi"
include "_events.pxi"
include "_flow.pxi"
include "_broker.pxi"

packets.Packet.register(Packet)
packets.FlowEnd.register(FlowEnd)
packets.EventSet.register(EventSet)

if ou_watch_forks():
    raise ImportError("pthread_atfork failed: no memory")
