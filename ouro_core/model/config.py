"""Parameters declared once.

A configuration is a frozen attrs class whose fields are made by `option`. The keywords of the command line, the keys of
TOML files, error texts and the reference documentation all come from that one declaration.

    @frozen
    class Config:
        ttl: int = option(60, parse=integer(1, 255), unit="hops", help="largest number of hops", keyword="ttl")

Values travel as text (`to_text`), so both ends of the control socket check them by the same class.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs

from .errors import ConfigError

__all__ = ["Option", "boolean", "choice", "integer", "option", "options", "parse_config", "text", "to_text"]

C = TypeVar("C")
_KEY: Final = "ouro.option"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@attrs.frozen
class Option:
    """One parameter of a configuration class."""

    name: str
    keyword: str  # command line
    key: str  # TOML
    parse: Callable[[str], Any]
    default: Any  # attrs.NOTHING: must be given
    unit: str
    help: str
    show: Callable[[Any], str] = _plain

    def text(self, value: Any) -> str:
        """The reverse of `parse`; a text stays as it is."""
        return value if isinstance(value, str) else self.show(value)

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is attrs.NOTHING


@attrs.frozen
class _Declaration:
    keyword: str
    key: str
    parse: Callable[[str], Any]
    unit: str
    help: str
    show: Callable[[Any], str]


def option(
    default: Any = attrs.NOTHING,
    *,
    parse: Callable[[str], Any],
    help: str,
    unit: str = "",
    keyword: str = "",
    key: str = "",
    show: Callable[[Any], str] = _plain,
) -> Any:
    """A field of a configuration class.

    `parse` makes the value from text and raises ValueError with the reason; `show` is its reverse, and needed only
    where it cannot read what str() gives (numbers of another base: `show=hex`).
    `keyword` and `key` name it on the command line and in TOML; both default to the field's name. Options without a
    default come first in their class, as with all attrs.
    """
    return attrs.field(default=default, metadata={_KEY: _Declaration(keyword, key, parse, unit, help, show)})


def options(cls: type) -> tuple[Option, ...]:
    """The parameters of a configuration class, in order of declaration."""
    found = []
    for a in attrs.fields(cls):
        declared: _Declaration | None = a.metadata.get(_KEY)
        if declared is not None:
            found.append(
                Option(
                    a.name, declared.keyword or a.name, declared.key or a.name, declared.parse, a.default,
                    declared.unit, declared.help, declared.show,
                )
            )  # fmt: skip
    return tuple(found)


def parse_config(cls: type[C], values: Mapping[str, str]) -> C:
    """An instance from texts by field name. ConfigError names the option, the value and what would do."""
    known = {o.name: o for o in options(cls)}
    for name in values:
        if name not in known:
            raise ConfigError(f'Unknown option: "{name}". Known: {", ".join(sorted(known)) or "none"}.')
    arguments: dict[str, Any] = {}
    for name, o in known.items():
        if name in values:
            try:
                arguments[name] = o.parse(values[name])
            except ValueError as e:
                raise ConfigError(f'Unknown parameter for {o.keyword}: "{values[name]}". {_sentence(str(e))}') from None
        elif o.required:
            raise ConfigError(f'Option "{o.keyword}" is missing: {o.help}.')
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as e:
        raise ConfigError(_sentence(str(e))) from None


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def to_text(config: Any) -> dict[str, str]:
    """The reverse of `parse_config`: every value that is not its default, as text."""
    out = {}
    for o in options(type(config)):
        value = getattr(config, o.name)
        if value != o.default:
            out[o.name] = o.text(value)
    return out


def integer(low: int, high: int, base: int = 10) -> Callable[[str], int]:
    """A parser for whole numbers between `low` and `high`, both included."""
    need = f"needs a whole number from {low} to {high}"
    if base == 16:
        need = f"needs a hexadecimal number from {low:04X} to {high:04X}"

    def parse(value: str) -> int:
        try:
            number = int(value, base)
        except ValueError:
            raise ValueError(need) from None
        if not low <= number <= high:
            raise ValueError(need)
        return number

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """A parser for one of several words."""

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"known: {', '.join(words)}")
        return value

    return parse


def boolean(value: str) -> bool:
    """A parser for true and false, yes and no, on and off, 1 and 0."""
    word = value.lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError("needs true or false")


def text(longest: int) -> Callable[[str], str]:
    """A parser for a text of 1 to `longest` bytes."""

    def parse(value: str) -> str:
        if not 0 < len(value.encode()) <= longest:
            raise ValueError(f"needs 1 to {longest} bytes")
        return value

    return parse
