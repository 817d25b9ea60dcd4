"""The parameters of a layer's directory, and how they travel at enrolment (spec: dht.md 1.2, 1.3, 8.3)."""

from typing import Final

from attrs import frozen
from google.protobuf.message import DecodeError

from ouro_core.model.config import choice, integer, option, options, parse_config
from ouro_core.model.errors import ConfigError, WireError

from .pb import dht_pb2 as pb

__all__ = ["DhtConfig", "decode_config", "encode_config"]

_WIDTH: Final = 8
_HELP: Final = ("auto", "on", "off")


@frozen
class DhtConfig:
    """Equal for all members of a layer. The ranges are those of the prototype's configuration file."""

    dht_alpha: int = option(3, parse=integer(1, 10), help="requests under way at once in a lookup")
    dht_k: int = option(8, parse=integer(1, 20), help="members that hold a name")
    dht_t_expire: int = option(86400, parse=integer(10, 86400), unit="s", help="longest life of a stored name")
    dht_t_refresh: int = option(900, parse=integer(3, 3600), unit="s", help="time between refreshes of contacts")
    dht_t_replicate: int = option(900, parse=integer(3, 3600), unit="s", help="time between publications of a name")
    dht_prototype: str = option(
        "auto", parse=choice(*_HELP), help="whether nodes of the C prototype are helped; auto: while one is known"
    )

    def __attrs_post_init__(self) -> None:
        """Values that do not come from text are held to the same ranges."""
        for o in options(type(self)):
            try:
                o.parse(str(getattr(self, o.name)))
            except ValueError as e:
                raise ConfigError(f"{o.keyword} is {getattr(self, o.name)!r}; it {e}") from None

    @property
    def width(self) -> int:
        """Contacts in a bucket, in a response, and to come to in a lookup: `k`, but enough to find the way."""
        return max(self.dht_k, _WIDTH)

    @property
    def lease(self) -> int:
        """Seconds that a published name lives: three times the time to the next publication."""
        return min(self.dht_t_expire, 3 * self.dht_t_replicate)


def encode_config(config: DhtConfig, peer: int) -> bytes:
    """A `dir_dht_config_msg`: alpha 1, k 2, t_expire 3, t_refresh 4, t_replicate 5, peer 6; ours: prototype 100, an
    index into auto, on, off, absent when it is auto.
    """
    message = pb.Config(
        alpha=config.dht_alpha, k=config.dht_k, t_expire=config.dht_t_expire, t_refresh=config.dht_t_refresh,
        t_replicate=config.dht_t_replicate, peer=peer,
    )  # fmt: skip
    if config.dht_prototype != "auto":
        message.prototype = _HELP.index(config.dht_prototype)
    return message.SerializeToString()


def decode_config(data: bytes) -> tuple[DhtConfig, int]:
    """The reverse: (config, peer). WireError; ConfigError: a value out of range."""
    message = pb.Config()
    try:
        message.ParseFromString(data)
    except DecodeError as e:
        raise WireError(f"the configuration of the DHT is malformed: {e}") from None
    if not message.IsInitialized():
        raise WireError("the configuration of the DHT lacks required fields")
    if message.prototype >= len(_HELP):
        raise ConfigError(f"dht_prototype has the number {message.prototype}; known: 0 (auto), 1 (on), 2 (off)")
    texts = {
        "dht_alpha": str(message.alpha), "dht_k": str(message.k), "dht_t_expire": str(message.t_expire),
        "dht_t_refresh": str(message.t_refresh), "dht_t_replicate": str(message.t_replicate),
        "dht_prototype": _HELP[message.prototype],
    }  # fmt: skip
    return parse_config(DhtConfig, texts), message.peer
