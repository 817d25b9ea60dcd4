"""The types of IPCP a command line may name: those of the installed plugins, and the prototype's words for the rest."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from ..contracts.ipcp import Ipcp
from ..model.errors import IpcpTypeError
from ..plugins import PluginHost
from ..plugins.kinds import named, words_for
from .keywords import match

__all__ = ["Types"]

_ORDER: Final = ("unicast", "broadcast", "udp4", "udp6", "eth-dix", "eth-llc", "local")
"""In which abbreviations are tried. It names types that may not be installed: `udp` means udp4 all the same."""


class Types:
    """Types by word. Loads the plugins when it is first asked."""

    @cached_property
    def _host(self) -> PluginHost:
        return PluginHost.from_environment()

    @property
    def all(self) -> Sequence[type[Ipcp]]:
        """Those of the installed plugins."""
        return tuple(self._host.ipcp_types.values())

    def get(self, name: str) -> type[Ipcp]:
        """The type with exactly this name. IpcpTypeError says what is known and where this one comes from."""
        found: type[Ipcp] = self._host.get("ipcp_types", name)
        return found

    def abbreviated(self, word: str) -> type[Ipcp]:
        """The type that `word` is short for. Errors as `get`."""
        words = dict.fromkeys((*_ORDER, *(w for cls in self.all for w in words_for(cls))))
        return self.get(match(word, words) or word)

    def canonical(self, word: str) -> str:
        """The name of the type that `word` is an alias of; any other word stays as it is."""
        cls = named(word, self._host.ipcp_types)
        return word if cls is None else str(cls.name)

    def can_enroll(self, word: str) -> type[Ipcp]:
        """`abbreviated`, among the types that have members to connect to."""
        words = [name for name in dict.fromkeys((*_ORDER[:2], *self._host.ipcp_types)) if self._has_members(name)]
        found = self.abbreviated(match(word, words) or word)
        if not has_members(found):
            raise IpcpTypeError(f"an IPCP of type {found.name} cannot be enrolled; types that can: {', '.join(words)}")
        return found

    def _has_members(self, name: str) -> bool:
        cls = self._host.ipcp_types.get(name)
        return name in _ORDER[:2] if cls is None else has_members(cls)


def has_members(cls: type[Ipcp]) -> bool:
    """Whether members of its layers are reached by flows of other layers, for which their names must be bound."""
    return bool(cls.components) or cls.broadcast
