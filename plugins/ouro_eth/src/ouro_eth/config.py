"""What a bootstrap of these types is told (shims.md 6)."""

from attrs import frozen

from ouro_core.model.config import integer, option, text

__all__ = ["EthDixConfig", "EthLlcConfig"]

_DEVICE = "network device, by name"


@frozen
class EthDixConfig:
    """Of a member of an `eth-dix` layer. All members need the same `ethertype`."""

    dev: str = option(parse=text(255), keyword="device", help=_DEVICE)
    ethertype: int = option(
        0xA000,
        parse=integer(0x0600, 0xFFFE, base=16),
        show=hex,
        help="ethertype of the layer's frames, hexadecimal",
    )


@frozen
class EthLlcConfig:
    """Of a member of an `eth-llc` layer."""

    dev: str = option(parse=text(255), keyword="device", help=_DEVICE)
