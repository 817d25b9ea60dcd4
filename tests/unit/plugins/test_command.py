"""`ouro plugins`: everything is listed, whatever is broken."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ouro_core.cli.plugins import plugins
from ouro_core.plugins import BUILTINS

Install = Callable[..., None]
Run = Callable[..., Result]

GOOD = "print('hello')\n\n@hookimpl\ndef ouro_register_digests(): return [Sum('good', 60001)]"
BAD = "raise RuntimeError('boom\\nand more')"
WAITS = "@hookimpl\ndef ouro_weather_changed(weather): pass"


@pytest.fixture
def run(install: Install) -> Run:
    """Runs `ouro plugins ...` with the plugins good, bad and waits alone."""
    install("ouro-mine", {"good": GOOD, "bad": BAD, "waits": WAITS}, version="2.5")

    def run(*words: str, select: str = "good,bad,waits") -> Result:
        environ = {"OURO_PLUGINS": select, "OURO_BLOCK_PLUGINS": ",".join(BUILTINS), "OURO_STRICT": "1"}
        return CliRunner().invoke(plugins, words, env=environ, catch_exceptions=False)

    return run


def listed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0
    return {p["name"]: p for p in json.loads(result.stdout) if p["distribution"] == "ouro-mine"}


def test_list_as_json(run: Run) -> None:
    found = listed(run("list", "--json"))
    assert found["good"] == {
        "name": "good",
        "group": "ouro",
        "distribution": "ouro-mine",
        "version": "2.5",
        "state": "loaded",
        "error": "",
        "registered": {"digests": ["good"]},
        "hooks": ["ouro_register_digests"],
        "waits_for": [],
    }
    assert found["bad"]["state"] == "broken"
    assert found["bad"]["error"].startswith("RuntimeError: boom")
    assert found["waits"]["state"] == "waiting"
    assert found["waits"]["waits_for"] == ["ouro_weather_changed"]


def test_list_without_loading(run: Run) -> None:
    found = listed(run("list", "--json", "--no-load"))
    assert {p["state"] for p in found.values()} == {"not loaded"}
    assert found["bad"]["version"] == "2.5"


def test_list_for_people(run: Run) -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["name", "distribution", "state"]
    assert any(line.split() == ["good", "ouro-mine", "2.5", "loaded", "digests:", "good"] for line in lines)
    assert any(
        line.split() == ["bad", "ouro-mine", "2.5", "broken", "RuntimeError:", "boom", "and", "more"] for line in lines
    )
    assert any("waiting" in line and line.endswith("waits for ouro_weather_changed") for line in lines)


def test_info_has_the_traceback(run: Run) -> None:
    text = run("info", "bad").stdout
    assert "distribution:   ouro-mine 2.5" in text
    assert "Traceback (most recent call last)" in text
    assert "digests:        good" in run("info", "good").stdout


def test_info_has_the_options_of_types_and_policies(install: Install, run: Run) -> None:
    install(
        "ouro-options",
        {"options": """
from ouro_core.contracts.directory import DirectoryPolicy

folder = option(parse=str, help="folder of the names")
owner = option(None, parse=str, help="owner")
depth = option(3, parse=int, unit="levels", help="depth")

@hookimpl
def ouro_register_ipcp_types():
    return [configured("deep", depth=depth), ipcp("plain")]

@hookimpl
def ouro_register_directory_policies():
    made = make_class("C", {"folder": folder, "owner": owner}, frozen=True)
    return [complete(DirectoryPolicy, name="files", code=9, Config=made)]
"""},
    )  # fmt: skip
    lines = run("info", "options", select="options").stdout.splitlines()
    assert [line.split(None, 2)[::2] for line in lines if " has:" in line] == [
        ["deep", "depth (default 3): depth, in levels"],
        ["files", "folder (required): folder of the names"],
        ["files", "owner (default none): owner"],
    ]


def test_info_of_nothing(run: Run) -> None:
    result = run("info", "godo")
    assert result.exit_code == 1
    assert 'no plugin is called "godo"; installed: ' in result.stderr


def test_check(run: Run) -> None:
    broken = run("check")
    assert broken.exit_code == 1
    assert 'plugin "bad" (ouro-mine 2.5): RuntimeError: boom' in broken.stdout
    waiting = run("check", select="good,waits")
    assert waiting.exit_code == 0
    assert "2 plugins work" in waiting.stdout
    assert run("check", "--strict", select="good,waits").exit_code == 1
    assert run("check", "--strict", select="good").exit_code == 0
    assert run("check", "--strict", select="good,godo").exit_code == 1
