"""The RIB: one tree of state and counters, into which every component publishes and which every view reads.

A node shows an attrs value, or what a callable returns when somebody looks: nothing is pushed and nothing is copied
until then; what a callable raises is raised there. Paths are words joined by slashes. Units stand in the metadata of
the fields ("unit").
"""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import attrs

from ..model.errors import NotFound

__all__ = ["Rib", "children", "to_plain", "word"]


def to_plain(value: Any) -> Any:
    """What JSON can say of a value: attrs values become objects, enumerations their names, bytes hexadecimal."""
    if attrs.has(type(value)):
        return {a.name: to_plain(getattr(value, a.name)) for a in attrs.fields(type(value)) if a.repr is not False}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def word(name: str) -> str:
    """A name as one word of a path: slashes in it, and percent signs, are percent-encoded."""
    return name.replace("%", "%25").replace("/", "%2F")


def children(tree: Any) -> tuple[str, ...]:
    """The names in a subtree as `read` gives it, sorted; those that have more below with a slash."""
    if not isinstance(tree, dict):
        return ()
    return tuple(sorted(name + ("/" if isinstance(value, dict) else "") for name, value in tree.items()))


class Rib:
    """A tree, or a node of one: `at` gives a node that publishes below itself."""

    def __init__(self) -> None:
        self._sources: dict[str, object] = {}
        self._prefix = ""

    def at(self, path: str) -> "Rib":
        """The node at a path of the same tree."""
        node = Rib.__new__(Rib)
        node._sources = self._sources
        node._prefix = _join(self._prefix, path)
        return node

    def publish(self, path: str, source: object | Callable[[], object]) -> None:
        """Show `source`, an attrs value, mapping or a callable that returns one, at `path` below this node."""
        self._sources[_join(self._prefix, path)] = source

    def withdraw(self, path: str = "") -> None:
        """Take away what is at and below `path`."""
        whole = _join(self._prefix, path)
        for key in [k for k in self._sources if _below(k, whole)]:
            del self._sources[key]

    def names(self, path: str = "") -> tuple[str, ...]:
        """The children at a path, sorted; a slash at the end says that there is more below. NotFound."""
        return children(self.read(path))

    def read(self, path: str = "") -> Any:
        """Everything at and below a path as plain dictionaries, lists and scalars. NotFound lists what there is."""
        whole = _join(self._prefix, path)
        parts = whole.split("/") if whole else []
        node: Any = {}
        for key, source in sorted(self._sources.items(), key=lambda item: item[0]):  # what is above comes first
            wanted = _below(key, whole) or _below(whole, key)  # of the others only the names matter
            value = to_plain(source() if callable(source) else source) if wanted else {}
            node = _graft(node, key.split("/") if key else [], value)
        for depth, part in enumerate(parts):
            if not isinstance(node, dict) or part not in node:
                where = f'in "{"/".join(parts[:depth])}"' if depth else "in its root"
                known = ", ".join(sorted(node)) if isinstance(node, dict) else ""
                raise NotFound(f'the RIB has no "{whole}"; {where} there is: {known or "nothing"}')
            node = node[part]
        return node

    def json(self, path: str = "") -> str:
        """`read` as JSON text."""
        return json.dumps(self.read(path))


def _join(prefix: str, path: str) -> str:
    return "/".join(part for part in f"{prefix}/{path}".split("/") if part)


def _below(key: str, path: str) -> bool:
    """Whether `key` is `path`, or below it."""
    return not path or key == path or key.startswith(path + "/")


def _graft(node: Any, parts: list[str], value: Any) -> Any:
    """`node` with `value` at a path in it. Mappings are merged; "value" is what a scalar becomes with others below."""
    if not parts:
        return node | value if isinstance(node, dict) and isinstance(value, dict) else value
    tree: dict[str, Any] = node if isinstance(node, dict) else {} if node is None else {"value": node}
    tree[parts[0]] = _graft(tree.get(parts[0]), parts[1:], value)
    return tree
