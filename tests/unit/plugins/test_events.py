"""Observers, and the veto: every one isolated, every fault with the plugin's name."""

import logging
import sys
from collections.abc import Callable

import pytest

from ouro_core.model.errors import NotPermitted
from ouro_core.model.flow import FlowInfo, FlowState
from ouro_core.model.layer import IpcpInfo, IpcpState
from ouro_core.model.qos import RAW
from ouro_core.plugins import PluginHost, PluginStatus

Install = Callable[..., None]
MakeHost = Callable[..., PluginHost]
Status = Callable[..., PluginStatus]

FLOW = FlowInfo(3, FlowState.ALLOCATED, 10, 11, 2, "camera", RAW, 5000, 1000)


def observer(hook: str, body: str = "seen.append({0})") -> str:
    argument = "ipcp" if "ipcp" in hook else "flow"
    return f"seen = []\n\n@hookimpl\ndef {hook}({argument}):\n    {body.format(argument)}\n"


def check_observed(install: Install, make_host: MakeHost, hook: str, **arguments: object) -> None:
    """Three plugins see it, whatever a fourth does."""
    install("ouro-watch", {"a": observer(hook), "b": observer(hook), "c": observer(hook, "raise SystemExit('boom')"),
                           "d": observer(hook)})  # fmt: skip
    host = make_host("a", "b", "c", "d")
    host.observe(hook, **arguments)  # nothing is loaded yet, so nobody is told
    host.load()
    host.observe(hook, **arguments)
    (value,) = arguments.values()
    assert [sys.modules[f"made_for_test_{i}"].seen for i in (0, 1, 3)] == [[value]] * 3


def test_hook_ouro_flow_allocated(install: Install, make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    check_observed(install, make_host, "ouro_flow_allocated", flow=FLOW)
    assert 'plugin "c" failed in ouro_flow_allocated' in caplog.text
    assert "boom" in caplog.text


def test_hook_ouro_flow_deallocated(install: Install, make_host: MakeHost) -> None:
    check_observed(install, make_host, "ouro_flow_deallocated", flow=FLOW)


def test_hook_ouro_ipcp_state_changed(install: Install, make_host: MakeHost) -> None:
    info = IpcpInfo(2, 10, "local", "lo", IpcpState.OPERATIONAL)
    check_observed(install, make_host, "ouro_ipcp_state_changed", ipcp=info)


def test_an_observer_may_leave_arguments_out(install: Install, make_host: MakeHost) -> None:
    install("ouro-lazy", {"lazy": "@hookimpl\ndef ouro_flow_allocated(): calls.append(1)\n\ncalls = []"})
    host = make_host("lazy")
    host.load()
    host.observe("ouro_flow_allocated", flow=FLOW)
    import made_for_test_0  # type: ignore[import-not-found]

    assert made_for_test_0.calls == [1]


def test_missing_arguments_are_the_callers_mistake(install: Install, make_host: MakeHost) -> None:
    install("ouro-watch", {"a": observer("ouro_flow_allocated")})
    host = make_host("a")
    host.load()
    with pytest.raises(KeyError):
        host.observe("ouro_flow_allocated")


def veto(body: str) -> str:
    return f"@hookimpl\ndef ouro_authorize_flow(name, uid):\n    {body}\n"


def loaded(install: Install, make_host: MakeHost, *bodies: str) -> PluginHost:
    """A host with one plugin for each body: v0, v1, ... The later ones are asked first."""
    names = [f"v{i}" for i in range(len(bodies))]
    install("ouro-veto", dict(zip(names, map(veto, bodies), strict=True)))
    host = make_host(*names)
    host.load()
    return host


def test_hook_ouro_authorize_flow(install: Install, make_host: MakeHost) -> None:
    host = loaded(install, make_host, "return None", "return uid == 0 or name == 'open'")
    host.authorize("open", 1000, 77, True)
    host.authorize("vault", 0, 77, False)
    with pytest.raises(NotPermitted, match=r'no flow to "vault": plugin "v1" refuses it \(user 1000, process 77\)'):
        host.authorize("vault", 1000, 77, False)


def test_nobody_has_to_answer(install: Install, make_host: MakeHost) -> None:
    make_host().authorize("x", 1, 2, True)
    loaded(install, make_host, "return None").authorize("x", 1, 2, True)


def test_the_first_answer_counts(install: Install, make_host: MakeHost) -> None:
    loaded(install, make_host, "return False", "return True").authorize("x", 1, 2, True)


@pytest.mark.parametrize("body", ["raise RuntimeError('boom')", "raise SystemExit"])
def test_an_exception_is_a_refusal(
    install: Install, make_host: MakeHost, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    host = loaded(install, make_host, "return True", body)
    with pytest.raises(NotPermitted, match='plugin "v1" failed when asked'):
        host.authorize("x", 1, 2, True)
    assert 'plugin "v1" failed in ouro_authorize_flow; the flow to "x" is refused' in caplog.text


@pytest.mark.parametrize("answer", ["0", "''", "1", "'yes'", "[True]"])
def test_whatever_is_not_true_is_a_refusal(install: Install, make_host: MakeHost, answer: str) -> None:
    with pytest.raises(NotPermitted):
        loaded(install, make_host, f"return {answer}").authorize("x", 1, 2, True)


def test_slow_answers_are_logged(install: Install, make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    host = loaded(install, make_host, "return None", "import time; time.sleep(0.05)")
    with caplog.at_level(logging.WARNING):
        host.authorize("x", 1, 2, True)
    assert 'plugin "v1" held up the IRM for' in caplog.text


def test_a_broken_plugin_with_a_say_closes_the_door(install: Install, make_host: MakeHost, status: Status) -> None:
    install("ouro-veto", {"guard": veto("return True") + "\n@hookimpl\ndef ouro_register_digests(): return 3\n"})
    host = make_host("guard")
    host.load()
    host.authorize("x", 1, 2, True)
    host.registry("digests")
    assert status(host, "guard").state == "broken"
    with pytest.raises(NotPermitted, match=r'plugin "guard" .* has to agree and is broken; repair or block it'):
        host.authorize("x", 1, 2, True)
