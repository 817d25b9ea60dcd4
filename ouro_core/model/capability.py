"""What a peer can do beyond the prototype (docs/reference/extension.md)."""

from enum import IntFlag

__all__ = ["Capability"]


class Capability(IntFlag):
    """Nothing (0) for a node of the C prototype, and for one that nobody knows anything of. Bits that have no name here
    are kept: a later version has one.
    """

    FRAGMENTS = 0x01
    """Puts management messages together that came in fragments."""
    PQ = 0x02
    """Its IRM has post-quantum key exchanges that work, and may use them: X25519MLKEM768 at least."""

    def __str__(self) -> str:
        if not self:
            return "none"
        names = [flag.name.lower() for flag in Capability if flag in self and flag.name]
        unknown = int(self) & ~sum(Capability)
        return ", ".join([*names, *([f"{unknown:#x}"] if unknown else [])])
