"""Enrolment, sans-IO: how a layer's configuration comes to a new member (unicast.md 2.2).

    client                          server
      | request {id} ----------------> |
      | <--- response {id, time, 0, layer}
      | (becomes a member)             |
      | ack {id, 0} -----------------> |

One packet each, and nothing is sent again: who gives up begins anew over another flow. The prototype never denies, and
never says that something went wrong; both are understood here.
"""

from typing import Final

from ouro_core.model.errors import FlowTimeout, IpcpError, IpcpTypeError, OuroError, WireError, error_from_code
from ouro_core.model.log import logger

from .wire import oep

__all__ = ["CLOCK_OFFSET", "TIMEOUT", "EnrolmentClient", "EnrolmentServer"]

_log = logger("enrollment")


TIMEOUT: Final = 1.0
"""Seconds that a client waits for the response."""
SERVER_TIMEOUT: Final = 10.0
"""Seconds that a server waits for the request, and again for the acknowledgement."""
CLOCK_OFFSET: Final = 0.020
"""Seconds between two clocks, round trip included, above which there is a warning."""
_TYPES: Final = {oep.UNICAST: "unicast", oep.BROADCAST: "broadcast"}


class EnrolmentClient:
    """The new member's side. When `layer` is there, the caller becomes a member and says so with `acknowledge`; `error`
    says why not. `wall`: the time of day in seconds when `now` was.
    """

    def __init__(self, id: bytes, type: int, now: float, wall: float) -> None:
        if len(id) != oep.ID_SIZE:
            raise ValueError(f"an enrolment id has {oep.ID_SIZE} bytes, not {len(id)}")
        self.id = id
        self.layer: oep.Layer | None = None
        self.error: OuroError | None = None
        self.offset = 0.0
        """Seconds between both clocks, and the round trip on top; there when `layer` is."""
        self._type = type
        self._began, self._wall = now, wall
        self._output = [oep.EnrolRequest(id).encode()]

    @property
    def done(self) -> bool:
        """Whether there is a configuration, or an error."""
        return self.layer is not None or self.error is not None

    def receive(self, data: bytes, now: float) -> None:
        """A packet of the server."""
        if self.done or not data:
            return
        try:
            self._answered(oep.EnrolResponse.decode(data), now)
            _log.debug("[%s] Received configuration info (%d bytes).", self.id.hex(), len(data))
        except OuroError as e:
            self.error = e

    def _answered(self, response: oep.EnrolResponse, now: float) -> None:
        if response.id != self.id:
            raise WireError(f"Enrollment ID mismatch: {response.id.hex()} instead of {self.id.hex()}.")
        if response.response < 0 or response.layer is None:
            raise error_from_code(response.response, f"Remote denied request: {response.response}.")
        layer = response.layer
        if layer.type != self._type:
            raise IpcpTypeError(
                f"Wrong type in enrollment response {layer.type} ({self._type}): this IPCP is of type "
                f"{_TYPES[self._type]}, layer {layer.name} is {_TYPES.get(layer.type, 'of another')}."
            )
        away = abs(self._wall - (response.seconds + response.nanoseconds * 1e-9))
        self.offset = away + (now - self._began)
        self.layer = layer

    def acknowledge(self, result: int = 0) -> None:
        """Say that we are a member, or with a negative number why we are not."""
        self._output.append(oep.EnrolAck(self.id, result).encode())

    def next_timeout(self) -> float | None:
        """When it gives up."""
        return None if self.done else self._began + TIMEOUT

    def handle_timeout(self, now: float) -> None:
        """The time has come. Too early is harmless."""
        if not self.done and now >= self._began + TIMEOUT:
            self.error = FlowTimeout(f"No reply received within {TIMEOUT:g} s.")

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Each given once."""
        output, self._output = self._output, []
        return output


class EnrolmentServer:
    """The old member's side, for one flow. `layer` is what the new one gets. `result` is there when it is over: 0, the
    negative number that the client sent, or that of `error`. `wall`: the time of day in seconds when `now` was.
    """

    def __init__(self, layer: oep.Layer, now: float, wall: float) -> None:
        self.id: bytes | None = None
        self.result: int | None = None
        self.error: OuroError | None = None
        self._layer = layer
        self._clock = wall - now
        self._deadline = now + SERVER_TIMEOUT
        self._output: list[bytes] = []

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.result is not None

    def receive(self, data: bytes, now: float) -> None:
        """A packet of the client."""
        if self.done or not data:
            return
        try:
            if self.id is None:
                self._requested(oep.EnrolRequest.decode(data), now)
            else:
                self._acknowledged(oep.EnrolAck.decode(data))
        except OuroError as e:
            self._fail(e)

    def _requested(self, request: oep.EnrolRequest, now: float) -> None:
        if len(request.id) != oep.ID_SIZE:
            raise WireError(f"an enrolment request with an id of {len(request.id)} bytes; {oep.ID_SIZE} is right")
        self.id = request.id
        self._deadline = now + SERVER_TIMEOUT
        nanoseconds = round((self._clock + now) * 1e9)
        seconds, rest = divmod(nanoseconds, 10**9)
        response = oep.EnrolResponse(request.id, seconds, rest, 0, self._layer).encode()
        _log.info("[%s] Handling incoming enrollment.", self.id.hex())
        _log.debug("[%s] Sending enrollment info (%d bytes).", self.id.hex(), len(response))
        self._output.append(response)

    def _acknowledged(self, ack: oep.EnrolAck) -> None:
        if ack.id != self.id:
            raise WireError(f"Enrollment ID mismatch: {ack.id.hex():.32} acknowledged.")
        self.result = ack.result
        if ack.result:
            self.error = IpcpError(f"Enrollment failed at remote: {ack.result}.")

    def _fail(self, why: OuroError) -> None:
        self.error, self.result = why, why.code

    def next_timeout(self) -> float | None:
        """When it gives up."""
        return None if self.done else self._deadline

    def handle_timeout(self, now: float) -> None:
        """The time has come. Too early is harmless."""
        if not self.done and now >= self._deadline:
            what = "request" if self.id is None else "acknowledgement"
            self._fail(FlowTimeout(f"no enrolment {what} came within {SERVER_TIMEOUT:g} s"))

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Each given once."""
        output, self._output = self._output, []
        return output
