"""Plugins that can themselves be extended, and plugins that wait for one."""

from collections.abc import Callable

import pytest

from ouro_core.model.errors import InvalidArgument
from ouro_core.plugins import PluginHost, PluginStatus

Install = Callable[..., None]
MakeHost = Callable[..., PluginHost]
Status = Callable[..., PluginStatus]

SHAPES = """
class Shape:
    name: str

OURO_KINDS = {"shapes": type[Shape]}

@hookspec
def ouro_register_shapes():
    "Shapes."

@hookspec
def ouro_shape_changed(shape):
    "A shape changed."
"""
ROUND = """
@hookimpl
def ouro_register_shapes():
    from made_for_test_1 import Shape
    return [type("Round", (Shape,), {"name": "round"})]

@hookimpl
def ouro_shape_changed(shape):
    seen.append(shape)

seen = []
"""


def install_shapes(install: Install, specifications: str = SHAPES) -> None:
    """Modules made_for_test_0 (plugin) and made_for_test_1 (specifications)."""
    own = "@hookimpl\ndef ouro_register_digests(): return [Sum('own', 1)]"
    install("ouro-shapes", {"shapes": own}, {"shapes": specifications})


def test_a_plugin_with_hooks_of_its_own(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-a-round", {})  # sorts before its host: specifications come first all the same
    install_shapes(install)
    install("ouro-a-circle", {"round": ROUND})
    host = make_host("shapes", "round")
    assert set(host.registry("shapes")) == {"round"}
    assert "shapes" in host.kinds()
    assert host.get("shapes", "round").__name__ == "Round"
    assert status(host, "round").registered == {"shapes": ("round",)}
    assert status(host, "shapes", "ouro.hookspecs").hooks == ("ouro_register_shapes", "ouro_shape_changed")
    host.observe("ouro_shape_changed", shape=7)
    assert host.get("shapes", "round").__mro__[1].__module__ == "made_for_test_1"
    with pytest.raises(InvalidArgument, match='no shape is called "square"; known: round'):
        host.get("shapes", "square")


def test_members_of_a_brought_kind_are_checked(install: Install, make_host: MakeHost, status: Status) -> None:
    install_shapes(install)
    install("ouro-bad", {"bad": "@hookimpl\ndef ouro_register_shapes(): return [ipcp('x')]"})
    host = make_host("shapes", "bad")
    assert host.registry("shapes") == {}
    assert "is not a subclass of Shape" in status(host, "bad").error


def test_without_its_host_a_plugin_waits(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-round", {"round": "@hookimpl\ndef ouro_register_digests(): return [Sum('r', 1)]\n" + ROUND})
    host = make_host("round", strict=True)
    host.load()  # no error, even if strict
    waiting = status(host, "round")
    assert waiting.state == "waiting"
    assert waiting.error == ""
    assert waiting.waits_for == ("ouro_register_shapes", "ouro_shape_changed")
    assert host.check_pending() == (
        'plugin "round" (ouro-round 1.0) waits for ouro_register_shapes, ouro_shape_changed: '
        "no plugin that is loaded specifies it",
    )
    assert set(host.digests) == {"r"}  # the rest of it works


def test_an_optional_hook_is_never_taken_for_a_mistake(install: Install, make_host: MakeHost, status: Status) -> None:
    near = "def ouro_register_digest(): return []"
    install("ouro-near", {"mistake": f"@hookimpl\n{near}", "meant": f"@hookimpl(optionalhook=True)\n{near}"})
    host = make_host("mistake", "meant")
    host.load()
    assert status(host, "mistake").state == "broken"
    assert status(host, "meant").state == "waiting"
    assert any("did you mean ouro_register_digests?" in message for message in host.check_pending())


def test_a_waiting_plugin_goes_on_when_everything_is_loaded(
    install: Install, make_host: MakeHost, status: Status
) -> None:
    install_shapes(install)
    install("ouro-round", {"round": ROUND})
    host = make_host("shapes", "round")
    host.load_only("round")
    assert status(host, "round").state == "waiting"
    assert status(host, "shapes", "ouro.hookspecs").state == "not loaded"
    host.load()
    assert status(host, "round").state == "loaded"
    assert set(host.registry("shapes")) == {"round"}


def test_an_implementation_that_does_not_fit_is_its_own_fault(
    install: Install, make_host: MakeHost, status: Status
) -> None:
    install_shapes(install)
    install("ouro-bad", {"bad": "@hookimpl\ndef ouro_shape_changed(color): pass"})
    host = make_host("shapes", "bad")
    host.load_only("bad")  # nobody knows yet
    host.load()
    assert status(host, "bad").state == "broken"
    assert status(host, "shapes", "ouro.hookspecs").state == "loaded"


@pytest.mark.parametrize(
    ("specifications", "error"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("OURO_API = (99, 0)\n" + SHAPES, "does not fit"),
        ("x = 1", "did not find any 'ouro' hooks"),
        ("@hookspec\ndef ouro_register_digests(): ''", "hooks that exist already: ouro_register_digests"),
        ("OURO_KINDS = {'colors': object}\n@hookspec\ndef ouro_x(): ''", "without a hook ouro_register_<kind>: colors"),
    ],
)
def test_a_broken_host(install: Install, make_host: MakeHost, status: Status, specifications: str, error: str) -> None:
    install_shapes(install, specifications)
    install("ouro-round", {"round": ROUND})
    host = make_host("shapes", "round")
    host.load()
    broken = status(host, "shapes", "ouro.hookspecs")
    assert broken.state == "broken"
    assert error in broken.error
    assert status(host, "round").state == "waiting"
    assert set(host.digests) == {"own"}
    assert "shapes" not in host.kinds()
