"""Discovery, selection, isolation: what one plugin does wrong costs that plugin and nothing else."""

import sys
from collections.abc import Callable

import pytest

from ouro_core.hookspecs import OURO_API
from ouro_core.model.errors import ConfigError, InvalidArgument, PluginError
from ouro_core.plugins import BUILTINS, PluginHost, PluginStatus

Install = Callable[..., None]
MakeHost = Callable[..., PluginHost]
Status = Callable[..., PluginStatus]

GOOD = """
@hookimpl
def ouro_register_digests():
    return [Sum("good", 60001)]
"""

BROKEN = {
    "raises at import": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "imports what is not there": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
    "does not parse": ("def", "SyntaxError: invalid syntax"),
    "leaves the process": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "raises what no Exception is": ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
    "cannot be shown": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "Mute: <it cannot be shown: ValueError>",
    ),
    "says more in notes": (
        "try:\n    raise RuntimeError('boom')\nexcept RuntimeError as e:\n    e.add_note('aside'); raise",
        "RuntimeError: boom",
    ),
    "needs newer hooks": (f"OURO_API = ({OURO_API[0]}, {OURO_API[1] + 1})\n" + GOOD, "install a newer ouro-core"),
    "is of another major": (f"OURO_API = ({OURO_API[0] + 1}, 0)\n" + GOOD, "which does not fit"),
    "has no version": ("OURO_API = '1.0'\n" + GOOD, "it needs two numbers"),
    "implements nothing": ("def ouro_register_digests(): return []", "has no function marked with @hookimpl"),
    "wants other arguments": (
        "@hookimpl\ndef ouro_flow_allocated(flow, color): pass",
        "PluginValidationError",
    ),
    "wraps": ("@hookimpl(wrapper=True)\ndef ouro_flow_allocated(flow):\n    yield", "is a wrapper"),
    "is a coroutine": ("@hookimpl\nasync def ouro_flow_allocated(flow): pass", "it must be a plain one"),
    "is misspelt": (
        "@hookimpl\ndef ouro_register_digest(): return []",
        "there is no hook ouro_register_digest; did you mean ouro_register_digests?",
    ),
}


@pytest.mark.parametrize(("source", "error"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_listed_and_the_others_work(
    install: Install, make_host: MakeHost, status: Status, source: str, error: str
) -> None:
    install("ouro-a-bad", {"bad": source}, version="0.7")
    install("ouro-good", {"good": GOOD})
    host = make_host("bad", "good")
    host.load()
    bad = status(host, "bad")
    assert (bad.state, bad.distribution, bad.version) == ("broken", "ouro-a-bad", "0.7")
    assert error in bad.error
    assert status(host, "good").state == "loaded"
    assert set(host.digests) == {"good"}


@pytest.mark.parametrize(("source", "error"), BROKEN.values(), ids=BROKEN)
def test_strict_makes_it_an_error(install: Install, make_host: MakeHost, source: str, error: str) -> None:
    install("ouro-bad", {"bad": source})
    with pytest.raises(PluginError) as caught:
        make_host("bad", strict=True).load()
    assert error in str(caught.value)
    assert 'plugin "bad" (ouro-bad 1.0)' in str(caught.value)


def test_ctrl_c_is_not_taken_for_a_fault(install: Install, make_host: MakeHost) -> None:
    install("ouro-slow", {"slow": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        make_host("slow").load()


def test_a_failed_registration_leaves_nothing_behind(install: Install, make_host: MakeHost, status: Status) -> None:
    install(
        "ouro-half",
        {"half": "@hookimpl\ndef ouro_register_digests(): return [Sum('half', 1)]\n\n"
                 "@hookimpl\nasync def ouro_flow_allocated(flow): raise AssertionError"},
    )  # fmt: skip
    host = make_host("half")
    assert host.digests == {}
    host.observe("ouro_flow_allocated", flow=None)  # a coroutine that is never awaited would be a warning
    assert status(host, "half").registered == {}


def test_making_a_host_and_listing_import_nothing(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-bad", {"bad": "raise RuntimeError"})
    host = make_host("bad")
    assert status(host, "bad").state == "not loaded"
    assert "bad" in {p.name for p in PluginHost.metadata()}
    assert all(p.state == "not loaded" for p in PluginHost.metadata())
    assert not any(name.startswith("made_for_test") for name in sys.modules)


def test_loading_twice_is_once(install: Install, make_host: MakeHost) -> None:
    install("ouro-good", {"good": GOOD})
    host = make_host("good")
    host.load()
    digests = host.digests
    before = digests["good"]
    host.load()
    assert digests["good"] is before


def test_blocked_and_selected(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-many", {"a": GOOD, "b": "raise RuntimeError", "c": "raise RuntimeError"})
    host = make_host("a", "b", block=["b"])
    host.load()
    assert [status(host, name).state for name in "abc"] == ["loaded", "blocked", "not loaded"]
    assert host.check_pending() == ()


def test_names_that_are_not_installed_are_told(install: Install, make_host: MakeHost) -> None:
    install("ouro-good", {"good": GOOD})
    host = make_host("good", "godo", block=["bda"])
    assert host.check_pending() == (
        'no plugin is called "bda", though it is selected or blocked',
        'no plugin is called "godo", though it is selected or blocked',
    )


def test_the_environment(install: Install, status: Status) -> None:
    install("ouro-many", {"a": GOOD, "b": "raise RuntimeError", "c": "raise RuntimeError"})
    blocked = ",".join((*BUILTINS, "b"))
    environ = {"OURO_PLUGINS": "a, b", "OURO_BLOCK_PLUGINS": blocked, "OURO_STRICT": ""}
    host = PluginHost.from_environment(environ, select=["c"])
    host.load()
    assert [status(host, name).state for name in "abc"] == ["loaded", "blocked", "not loaded"]
    empty = PluginHost.from_environment({"OURO_PLUGINS": "", "OURO_BLOCK_PLUGINS": blocked})
    empty.load()
    assert status(empty, "a").state == "not loaded"
    strict = PluginHost.from_environment({"OURO_PLUGINS": "c", "OURO_STRICT": "yes"}, block=BUILTINS)
    with pytest.raises(PluginError, match='plugin "c"'):
        strict.load()
    with pytest.raises(ConfigError, match='OURO_STRICT is "perhaps": it needs true or false'):
        PluginHost.from_environment({"OURO_STRICT": "perhaps"})


def test_of_two_plugins_with_one_name_the_later_is_refused(
    install: Install, make_host: MakeHost, status: Status
) -> None:
    install("ouro-zeta", {"same": "raise RuntimeError"})
    install("ouro-alpha", {"same": GOOD})
    host = make_host("same")
    host.load()
    first, second = (p for p in host.plugins() if p.name == "same")
    assert (first.distribution, first.state) == ("ouro-alpha", "loaded")
    assert (second.distribution, second.state) == ("ouro-zeta", "broken")
    assert 'plugin "same" (ouro-alpha 1.0) has this name already' in second.error


def test_two_blocked_plugins_with_one_name_are_no_fault(install: Install, make_host: MakeHost) -> None:
    install("ouro-alpha", {"same": GOOD})
    install("ouro-zeta", {"same": GOOD})
    host = make_host(block=["same"])
    assert {p.state for p in host.plugins() if p.name == "same"} == {"blocked"}


def test_a_plugin_cannot_take_the_name_of_a_builtin(install: Install) -> None:
    install("ouro-heap", {"heap": GOOD})
    (ours,) = (p for p in PluginHost().plugins() if p.distribution == "ouro-heap")
    assert ours.state == "broken"


def test_one_object_behind_two_names(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-twice", {"one": GOOD, "two": "=made_for_test_0"})
    host = make_host("one", "two")
    assert set(host.digests) == {"good"}
    assert status(host, "one").state == "loaded"
    assert status(host, "two").state == "broken"


@pytest.mark.parametrize("content", [b"[ouro]\nno equals sign\n", b"[ouro]\nbad = \n"])
def test_unreadable_entry_points(install: Install, make_host: MakeHost, status: Status, content: bytes) -> None:
    install("bad", {}, entry_points=content)
    install("ouro-good", {"good": GOOD})
    host = make_host("good", "bad")
    assert set(host.digests) == {"good"}
    assert status(host, "bad").state == "broken"


def test_entry_points_that_are_no_text(install: Install, make_host: MakeHost) -> None:
    install("bad", {}, entry_points=b"[ouro]\nx = \xff\xfe")
    install("ouro-good", {"good": GOOD})
    assert set(make_host("good").digests) == {"good"}


def test_load_only_imports_one(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-good", {"good": GOOD})
    install("ouro-other", {"other": "@hookimpl\ndef ouro_register_digests(): return [Sum('other', 9)]"})
    host = make_host("good", "other")
    host.load_only("good")
    assert set(host.digests) == {"good"}
    assert status(host, "other").state == "not loaded"
    assert host.get("digests", "good").nid == 60001
    assert status(host, "other").state == "not loaded"
    assert host.get("digests", "other").nid == 9  # not there yet: everything is loaded
    assert status(host, "other").state == "loaded"
    assert set(host.digests) == {"good", "other"}


def test_load_only_says_why_not(install: Install, make_host: MakeHost) -> None:
    install("ouro-many", {"a": "raise RuntimeError('boom')", "b": GOOD, "c": GOOD})
    host = make_host("a", "b", block=["b"])
    for name, reason in {
        "a": "boom",
        "b": "OURO_BLOCK_PLUGINS",
        "c": "OURO_PLUGINS",
        "d": "no plugin is called",
    }.items():
        with pytest.raises(PluginError, match=reason):
            host.load_only(name)


def test_load_only_leaves_out_builtins_that_are_not_needed(install: Install, status: Status) -> None:
    system = "complete(PacketSystem, name='mine')"
    install(
        "ouro-mine",
        {"mine": f"""
from ouro_core.contracts.packets import PacketSystem

@hookimpl
def ouro_register_pool_allocators(): return [{system}]
"""},
    )  # fmt: skip
    host = PluginHost(select=["mine"])
    host.load_only("mine")
    assert host.get("pool_allocators", "mine").name == "mine"
    assert status(host, "heap").state == "not loaded"
    assert host.get("pool_allocators", "heap").name == "heap"


def test_load_only_a_builtin_adds_builtins_by_kind(status: Status) -> None:
    host = PluginHost(select=())
    host.load_only("classic")
    assert host.get("digests", "sha256").size == 32
    assert status(host, "heap").state == "not loaded"
    host.registry("pool_allocators")
    assert status(host, "heap").state != "not loaded"


def test_unknown_kinds_and_hooks(make_host: MakeHost) -> None:
    with pytest.raises(InvalidArgument, match='no kind of plugin "colors"; known: ipcp_types'):
        make_host().registry("colors")
    with pytest.raises(InvalidArgument, match="no hook ouro_color_changed"):
        make_host().observe("ouro_color_changed")
