"""Plugins: found by entry point, each loaded so that it can fail alone, asked kind by kind for what they bring.

Theory of operation. A `PluginHost` keeps one record per entry point of the groups `ouro` (plugins) and
`ouro.hookspecs` (plugins that can themselves be extended), built-ins first, then by distribution. Loading imports the
object behind the entry point and registers it with pluggy; that is all pluggy is used for, besides checking
implementations against specifications. Hooks are called by the host itself, one implementation at a time, so that
whatever a plugin does (raise, exit, return nonsense) falls back on that plugin: it becomes `broken`, all it had
registered is taken out again, and the others go on.

The `ouro_register_<kind>` hooks fill one registry per kind when somebody first asks for it. Every specification of
that form makes a kind, also one that a plugin brings. What may be registered is in `KINDS`; a module of
hook specifications says it in `OURO_KINDS`, in the same form.

A program that needs one packet system uses `load_only`: no other plugin is imported until something is asked for that
neither this plugin nor a built-in has.

Environment: `OURO_PLUGINS` (comma-separated: load only these), `OURO_BLOCK_PLUGINS` (never these) and `OURO_STRICT`
(a broken plugin is an error instead of an entry in the list).
"""

import inspect
import os
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from types import MappingProxyType
from typing import Any, Final, NoReturn

import pluggy

from .. import hookspecs
from ..contracts.crypto import Authenticator, CipherSuite, Digest, Kdf, KexSuite
from ..contracts.directory import DirectoryPolicy
from ..contracts.ipcp import Ipcp
from ..contracts.packets import PacketSystem
from ..hookspecs import OURO_API
from ..model.config import boolean
from ..model.errors import ConfigError, InvalidArgument, IpcpTypeError, NotPermitted, PluginError
from ..model.log import logger
from .installed import BUILTINS, GROUP, HOSTS, Plugin, PluginState, PluginStatus, builtins, discover
from .kinds import BROUGHT_BY, KINDS, check_member, named, singular, words_for

__all__ = ["PluginHost"]

_REGISTER: Final = "ouro_register_"
_VETO: Final = "ouro_authorize_flow"
_SLOW: Final = 0.010  # seconds a veto may think before it is logged
_UNIQUE: Final = ("name", "nid", "code")  # attributes that no two members of a kind share

_log = logger("plugins")


class PluginHost:
    """The plugins of this process. Making one loads nothing; methods may be called from any thread.

    `select`: load only the entry points with these names (None: all); built-ins are always there. `block`: never load
    these, built-ins included. `strict`: whatever loads or asks plugins raises PluginError when one is broken.
    """

    def __init__(
        self, *, select: Collection[str] | None = None, block: Collection[str] = (), strict: bool = False
    ) -> None:
        self._select = None if select is None else frozenset(select)
        self._block = frozenset(block)
        self._strict = strict
        self._lock = RLock()
        self._manager = pluggy.PluginManager("ouro")
        self._manager.add_hookspecs(hookspecs)
        self._kinds: dict[str, Any] = dict(KINDS)
        self._registries: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self._builtins = [self._mark(plugin) for plugin in builtins()]
        self._installed: list[Plugin] | None = None
        self._narrow = False  # load_only was called, and nothing since that needs them all
        self._loaded = False

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        select: Collection[str] | None = None,
        block: Collection[str] = (),
        strict: bool = False,
    ) -> "PluginHost":
        """A host as configured by the arguments and the environment.

        OURO_PLUGINS, also an empty one, replaces `select`; OURO_BLOCK_PLUGINS adds to `block`; OURO_STRICT sets or
        clears `strict` (ConfigError unless it is a truth value).
        """
        chosen = environ.get("OURO_PLUGINS")
        if chosen is not None:
            select = _words(chosen)
        if (word := environ.get("OURO_STRICT", "")) != "":
            try:
                strict = boolean(word)
            except ValueError as e:
                raise ConfigError(f'OURO_STRICT is "{word}": it {e}') from None
        return cls(select=select, block={*block, *_words(environ.get("OURO_BLOCK_PLUGINS", ""))}, strict=strict)

    # ---- loading

    def load(self) -> None:
        """Import every plugin that is neither blocked nor deselected. Again: nothing happens. PluginError if strict."""
        with self._lock:
            if not self._loaded:
                # What `load_only` let in leaves for a moment: specifications come before implementations.
                early = [p for p in self._all() if p.active]
                for plugin in early:
                    self._manager.unregister(plugin.object)
                for plugin in self._of(HOSTS):
                    self._load(plugin)
                for plugin in self._of(GROUP):
                    if plugin in early:
                        self._register(plugin)
                    else:
                        self._load(plugin)
                self._narrow = False
                self._loaded = True
            self._settle()

    def load_only(self, name: str) -> None:
        """Import one plugin (or built-in) and nothing else: the quick way to a packet system.

        From here on built-ins are loaded for the kinds they bring, and everything once `get` is asked for a name that
        is still unknown. PluginError: not installed, blocked, not selected or broken.
        """
        with self._lock:
            plugin = self._find(name)
            if not plugin.active:
                self._load(plugin)
            if not plugin.active:
                reason = plugin.error or _WHY_NOT[plugin.state]
                raise PluginError(f"{plugin} cannot be used: {reason}")
            self._narrow = not self._loaded

    def _find(self, name: str) -> Plugin:
        for plugin in (*self._builtins, *self._of(GROUP)):
            if plugin.name == name:
                return plugin
        known = ", ".join(p.name for p in self._of(GROUP))
        raise PluginError(f'no plugin is called "{name}"; installed: {known}')

    def _all(self) -> list[Plugin]:
        if self._installed is None:
            self._installed = [self._mark(plugin) for plugin in discover()]
            self._refuse_duplicates()
        return self._builtins + self._installed

    def _of(self, group: str) -> list[Plugin]:
        return [p for p in self._all() if p.group == group]

    def _mark(self, plugin: Plugin) -> Plugin:
        if plugin.name in self._block:
            plugin.state = "blocked"
        return plugin

    def _refuse_duplicates(self) -> None:
        first: dict[tuple[str, str], Plugin] = {}
        for plugin in self._all():
            other = first.setdefault((plugin.group, plugin.name), plugin)
            if other is not plugin and plugin.state != "blocked":
                plugin.state = "broken"
                plugin.error = f"{other} has this name already; uninstall one of them"

    def _selected(self, plugin: Plugin) -> bool:
        return self._select is None or plugin in self._builtins or plugin.name in self._select

    def _load(self, plugin: Plugin) -> None:
        if plugin.state != "not loaded" or not self._selected(plugin):
            return
        with self._isolated(plugin):
            plugin.object = plugin.entry.load()
            _check_api(getattr(plugin.object, "OURO_API", OURO_API))
            plugin.state = "loaded"
        if plugin.active:
            self._register(plugin)

    def _register(self, plugin: Plugin) -> None:
        with self._isolated(plugin):
            if plugin.group == HOSTS:
                self._add_specifications(plugin)
            else:
                self._add_implementations(plugin)

    def _add_specifications(self, plugin: Plugin) -> None:
        manager, found = self._manager, plugin.object
        plugin.hooks = tuple(n for n in dir(found) if manager.parse_hookspec_opts(found, n) is not None)
        taken = [hook for hook in plugin.hooks if self._specified(hook)]
        if taken:
            raise PluginError(f"specifies hooks that exist already: {', '.join(taken)}")
        members: Mapping[str, Any] = getattr(found, "OURO_KINDS", {})
        kinds = {h.removeprefix(_REGISTER): object for h in plugin.hooks if h.startswith(_REGISTER)} | dict(members)
        strange = [kind for kind in kinds if _REGISTER + kind not in plugin.hooks]
        if strange:
            raise PluginError(f"OURO_KINDS has kinds without a hook {_REGISTER}<kind>: {', '.join(strange)}")
        manager.add_hookspecs(found)
        self._kinds |= kinds
        self._registries |= {kind: {} for kind in kinds}

    def _add_implementations(self, plugin: Plugin) -> None:
        manager, found = self._manager, plugin.object
        options = {n: o for n in dir(found) if (o := manager.parse_hookimpl_opts(found, n)) is not None}
        if not options:
            raise PluginError("has no function marked with @hookimpl")
        implemented = {o.get("specname") or n: bool(o.get("optionalhook")) for n, o in options.items()}
        plugin.hooks = tuple(implemented)
        plugin.waits_for = tuple(hook for hook in plugin.hooks if not self._specified(hook))
        for hook in plugin.waits_for:
            if not implemented[hook] and (meant := self._similar(hook)):
                raise PluginError(f"there is no hook {hook}; did you mean {meant}?")
        manager.register(found, plugin.name)
        for caller in manager.get_hookcallers(found) or ():
            for implementation in caller.get_hookimpls():
                if implementation.plugin is found:
                    _check_plain(caller.name, implementation)
        plugin.state = "waiting" if plugin.waits_for else "loaded"

    def _specified(self, hook: str) -> bool:
        caller = getattr(self._manager.hook, hook, None)
        return isinstance(caller, pluggy.HookCaller) and caller.has_spec()

    def _similar(self, hook: str) -> str | None:
        """The hook that was probably meant."""
        from difflib import get_close_matches  # needed for mistakes only

        known = {_bare(h): h for h in dir(self._manager.hook) if self._specified(h)}
        found = get_close_matches(_bare(hook), known, 1, 0.8)
        return known[found[0]] if found else None

    # ---- faults

    @contextmanager
    def _isolated(self, plugin: Plugin, hook: str = "") -> Iterator[None]:
        """Whatever is raised inside breaks this plugin and nothing else; only Ctrl-C goes through."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # SystemExit too, and what test runners and event loops derive from BaseException
            self._break(plugin, e, hook)

    def _break(self, plugin: Plugin, why: BaseException, hook: str) -> None:
        for kind, items in plugin.registered.items():
            for name in items:
                del self._registries[kind][name]
        plugin.registered.clear()
        if plugin.object is not None and self._manager.get_plugin(plugin.name) is plugin.object:
            self._manager.unregister(plugin.object)
        plugin.state = "broken"
        if isinstance(why, PluginError):
            plugin.error = str(why)
        else:
            plugin.error = _brief(why)
            plugin.traceback = "".join(traceback.format_exception(why))
        if hook:
            plugin.error = f"{hook}: {plugin.error}"
        if not self._strict:  # else it is an error, which says the same
            _log.warning("%s is broken: %s", plugin, plugin.error)

    def _settle(self) -> None:
        broken = [f"{p} is broken: {p.error}" for p in self._all() if p.state == "broken"] if self._strict else ()
        if broken:
            raise PluginError("; ".join(broken))

    # ---- registries

    def kinds(self) -> tuple[str, ...]:
        """The kinds there are: those of the core, and those that loaded plugins brought."""
        return tuple(self._kinds)

    def registry(self, kind: str) -> Mapping[str, Any]:
        """What there is of a kind, by name. Loads first what is needed for it. The mapping is a live view.

        InvalidArgument: no such kind. PluginError if strict.
        """
        with self._lock:
            if self._narrow and kind in KINDS:
                for plugin in self._builtins:
                    if kind in BUILTINS[plugin.name][1]:
                        self._load(plugin)
            else:
                self.load()
            return MappingProxyType(self._fill(kind))

    def _fill(self, kind: str) -> dict[str, Any]:
        """Ask the plugins that are loaded and were not asked yet."""
        if kind not in self._kinds:
            raise InvalidArgument(f'there is no kind of plugin "{kind}"; known: {", ".join(self._kinds)}')
        for plugin in self._of(GROUP):
            if plugin.active and kind not in plugin.registered:
                with self._isolated(plugin, _REGISTER + kind):
                    self._ask(plugin, kind)
        self._settle()
        return self._registries[kind]

    def _ask(self, plugin: Plugin, kind: str) -> None:
        """Let a plugin register its members of a kind: all of them, or PluginError."""
        found: dict[str, Any] = {}
        for implementation in self._implementations(_REGISTER + kind):
            if implementation.plugin is plugin.object:
                returned = implementation.function()
                if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
                    raise PluginError(f"returned {returned!r:.80} instead of a list")
                for item in returned:
                    self._check_member(kind, item, found)
                    found[item.name] = item
        plugin.registered[kind] = found
        self._registries[kind] |= found

    def _check_member(self, kind: str, item: Any, others: Mapping[str, Any]) -> None:
        check_member(self._kinds[kind], item)
        for other in (*self._registries[kind].values(), *others.values()):
            for attribute in _UNIQUE:
                value = getattr(item, attribute, None)
                if value is not None and getattr(other, attribute, None) == value:
                    self._taken(kind, f"{attribute} {value!r}", item, other)
            for word in set(words_for(item)) & set(words_for(other)):
                self._taken(kind, f"word {word!r}", item, other)

    def _taken(self, kind: str, what: str, item: Any, other: Any) -> NoReturn:
        raise PluginError(f"the {what} of {item!r:.80} is taken by {self._owner(kind, other.name) or 'itself'}")

    def _owner(self, kind: str, name: str) -> Plugin | None:
        return next((p for p in self._all() if name in p.registered.get(kind, ())), None)

    def get(self, kind: str, name: str) -> Any:
        """The member of a kind that is called `name`, or has it among its aliases. IpcpTypeError (ipcp_types), else
        InvalidArgument: unknown; says what is known and, where we know it, which distribution brings it.
        """
        with self._lock:
            # what `load_only` loaded, then the built-ins, then everything
            member = named(name, self._fill(kind)) if self._narrow and kind in KINDS else None
            if member is None:
                member = named(name, self.registry(kind))
            if member is None and self._narrow:
                self.load()
                member = named(name, self.registry(kind))
            if member is not None:
                return member
            error = IpcpTypeError if kind == "ipcp_types" else InvalidArgument
            known = ", ".join(self.registry(kind)) or "none"
            raise error(f'no {singular(kind)} is called "{name}"; known: {known}{self._advice(kind, name)}')

    def provider(self, kind: str, name: str) -> str:
        """The entry point that brought a member, for `load_only` in another process. Errors as `get`."""
        with self._lock:
            owner = self._owner(kind, self.get(kind, name).name)
            assert owner is not None  # whatever is in a registry was put there by a plugin
            return owner.name

    def _advice(self, kind: str, name: str) -> str:
        distribution = BROUGHT_BY.get(kind, {}).get(name)
        if distribution is None:
            return ""
        for plugin in self._of(GROUP):
            if plugin.distribution == distribution:
                return f". It comes with {plugin}, which is {plugin.error or _WHY_NOT[plugin.state]}"
        return f". It comes with the distribution {distribution}"

    @property
    def ipcp_types(self) -> Mapping[str, type[Ipcp]]:
        """Types of IPCP."""
        return self.registry("ipcp_types")

    @property
    def directory_policies(self) -> Mapping[str, type[DirectoryPolicy]]:
        """Directories of unicast layers."""
        return self.registry("directory_policies")

    @property
    def pool_allocators(self) -> Mapping[str, type[PacketSystem]]:
        """Packet systems."""
        return self.registry("pool_allocators")

    @property
    def kex_suites(self) -> Mapping[str, KexSuite]:
        """Key exchanges."""
        return self.registry("kex_suites")

    @property
    def cipher_suites(self) -> Mapping[str, CipherSuite]:
        """Ciphers."""
        return self.registry("cipher_suites")

    @property
    def kdfs(self) -> Mapping[str, Kdf]:
        """Key derivations."""
        return self.registry("kdfs")

    @property
    def digests(self) -> Mapping[str, Digest]:
        """Digests."""
        return self.registry("digests")

    @property
    def authenticators(self) -> Mapping[str, Authenticator]:
        """Families of certificates."""
        return self.registry("authenticators")

    # ---- what happens, and what may

    def observe(self, hook: str, **arguments: Any) -> None:
        """Tell the plugins that are loaded. An observer that raises is logged; the others are told all the same."""
        for implementation in self._implementations(hook):
            values = [arguments[name] for name in implementation.argnames]
            try:
                implementation.function(*values)
            except KeyboardInterrupt:
                raise
            except BaseException:
                _log.exception('plugin "%s" failed in %s', implementation.plugin_name, hook)

    def authorize(self, name: str, uid: int, pid: int, incoming: bool) -> None:
        """Ask the plugins that are loaded whether a flow may be. NotPermitted names the one that refused.

        A broken plugin that would have had a say is taken for a refusal, so that a fault opens nothing.
        """
        for plugin in self._installed or ():
            if plugin.state == "broken" and _VETO in plugin.hooks:
                raise NotPermitted(f'no flow to "{name}": {plugin} has to agree and is broken; repair or block it')
        arguments = {"name": name, "uid": uid, "pid": pid, "incoming": incoming}
        for implementation in self._implementations(_VETO):
            who = implementation.plugin_name
            values = [arguments[argument] for argument in implementation.argnames]
            before = time.perf_counter()
            try:
                answer = implementation.function(*values)
            except KeyboardInterrupt:
                raise
            except BaseException as e:
                _log.exception('plugin "%s" failed in %s; the flow to "%s" is refused', who, _VETO, name)
                raise NotPermitted(f'no flow to "{name}": plugin "{who}" failed when asked; see the log') from e
            finally:
                if (took := time.perf_counter() - before) > _SLOW:
                    _log.warning('plugin "%s" held up the IRM for %.0f ms in %s', who, took * 1000, _VETO)
            if answer is True:
                return
            if answer is not None:
                raise NotPermitted(f'no flow to "{name}": plugin "{who}" refuses it (user {uid}, process {pid})')

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """In the order of calls. InvalidArgument: nobody specifies this hook."""
        caller = getattr(self._manager.hook, hook, None)
        if not isinstance(caller, pluggy.HookCaller) or not caller.has_spec():
            raise InvalidArgument(f"there is no hook {hook}")
        return caller.get_hookimpls()[::-1]

    # ---- looking at it

    def plugins(self) -> tuple[PluginStatus, ...]:
        """Every plugin, built-in or installed, as it is now. Loads nothing."""
        with self._lock:
            return tuple(plugin.status() for plugin in self._all())

    @classmethod
    def metadata(cls) -> tuple[PluginStatus, ...]:
        """What is installed, without importing any of it."""
        return cls().plugins()

    def check_pending(self) -> tuple[str, ...]:
        """Messages about what nobody will ever call or find: hooks without specification, and names selected or
        blocked that are not installed.
        """
        with self._lock:
            names = {plugin.name for plugin in self._all()}
            unknown = sorted((self._block | (self._select or frozenset())) - names)
            return (
                *(
                    f"{plugin}: {plugin.error}"
                    if plugin.state == "broken"
                    else f"{plugin} waits for {', '.join(plugin.waits_for)}: no plugin that is loaded specifies it"
                    for plugin in self._all()
                    if plugin.waits_for
                ),
                *(f'no plugin is called "{name}", though it is selected or blocked' for name in unknown),
            )


# ---------------------------------------------------------------- does it fit


def _check_api(version: Any) -> None:
    """PluginError unless a plugin written for this version of the hooks works with ours."""
    match version:
        case (int(major), int(minor)):
            pass
        case _:
            raise PluginError(f"OURO_API is {version!r}; it needs two numbers, as in {OURO_API}")
    ours = f"{OURO_API[0]}.{OURO_API[1]}"
    if major != OURO_API[0]:
        raise PluginError(f"was written for version {major}.{minor} of the hooks, which does not fit {ours}")
    if minor > OURO_API[1]:
        raise PluginError(f"needs version {major}.{minor} of the hooks, here is {ours}; install a newer ouro-core")


def _check_plain(hook: str, implementation: pluggy.HookImpl) -> None:
    """Hooks are called one by one and at once: wrappers and coroutines have no place."""
    if implementation.wrapper or implementation.hookwrapper:
        raise PluginError(f"{hook} is a wrapper; implement the hook itself")
    if inspect.iscoroutinefunction(implementation.function):
        raise PluginError(f"{hook} is a coroutine function; it must be a plain one")


def _brief(why: BaseException) -> str:
    try:
        text = str(why)
    except Exception as e:
        text = f"<it cannot be shown: {type(e).__name__}>"
    return f"{type(why).__name__}: {text}" if text else type(why).__name__


def _bare(hook: str) -> str:
    """Without what all hooks begin with, so that only the rest is compared."""
    return hook.removeprefix("ouro_").removeprefix("register_")


_WHY_NOT: Final[Mapping[PluginState, str]] = {
    "loaded": "loaded, but does not register it",
    "waiting": "loaded, but does not register it",
    "blocked": "blocked; see OURO_BLOCK_PLUGINS",
    "not loaded": "not selected; see OURO_PLUGINS",
    "broken": "broken",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(word for part in text.split(",") if (word := part.strip()))
