"""The click group: nothing is imported before it is needed, and plugins bring commands."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ouro_core.cli.group import ouro

HEAVY = ("asyncio", "pluggy", "cryptography", "google.protobuf", "ouro_core.plugins")


def test_help_imports_next_to_nothing() -> None:
    code = (
        "import sys; from ouro_core.cli.group import ouro; ouro(['--help'], standalone_mode=False); "
        f"sys.exit(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == "\n"
    for word in ("irmd", "ipcp", "name", "bind", "plugins", "demo", "version"):
        assert f"\n  {word} " in result.stdout


@pytest.fixture
def plugin_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with a command that works and two that do not."""
    info = tmp_path / "example-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(
        "[ouro.commands]\nhello = example_commands:hello\nbad = example_broken:it\nnone = example_commands:nothing\n"
        "ipcp = example_commands:hello\n"
    )
    (tmp_path / "example_commands.py").write_text(
        "import click\n@click.command()\ndef hello():\n    print('hello')\nnothing = 1\n"
    )
    (tmp_path / "example_broken.py").write_text("raise SystemExit('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    vars(ouro).pop("_installed", None)  # what was found before
    yield
    vars(ouro).pop("_installed", None)


@pytest.mark.usefixtures("plugin_commands")
def test_commands_of_plugins() -> None:
    run = CliRunner().invoke
    result = run(ouro, ["--help"])
    assert "from example 1.5" in result.output
    assert "example_commands" not in sys.modules, "the help is made of metadata"
    assert run(ouro, ["hello"]).output == "hello\n"
    for broken in ("bad", "none"):
        result = run(ouro, [broken])
        assert result.exit_code == 1
        assert "example 1.5" in result.output
    assert run(ouro, ["ipcp"]).output.startswith("Usage: ouro ipcp"), "ours win"


def test_unknown_commands() -> None:
    assert CliRunner().invoke(ouro, ["frob"]).exit_code == 2


def test_pass_through_keeps_the_words(irm: Any) -> None:
    run = CliRunner().invoke
    assert run(ouro, ["bind", "prog", "sh", "name", "x", "auto", "--", "-l", "--", "--help"]).exit_code == 0
    assert irm.asked[-1].args == ("-l", "--", "--help")
    result = run(ouro, ["irm", "frob"])
    assert (result.exit_code, result.output) == (1, '"frob" is unknown, try "ouro irm help".\n')
    assert run(ouro, ["ipcp", "--help"]).output.startswith("Usage: ouro ipcp")
    assert run(ouro, ["irm"]).exit_code == 255


def test_rib(irm: Any) -> None:
    run = CliRunner().invoke
    assert run(ouro, ["rib", "ls"]).output == "processes/\nup\n"
    assert run(ouro, ["rib", "cat"]).output == "processes/1/program: oping\nprocesses/1/flows: [1, 2]\nup: true\n"
    assert json.loads(run(ouro, ["rib", "cat", "--json"]).output)["up"] is True
    result = run(ouro, ["rib", "cat", "frob"])
    assert result.exit_code == 1
    assert 'no "frob"' in result.output


@pytest.mark.usefixtures("no_irm")
def test_status_without_a_daemon() -> None:
    result = CliRunner().invoke(ouro, ["status"])
    assert result.exit_code == 1
    assert "ouro irmd" in result.output


def test_version() -> None:
    assert json.loads(CliRunner().invoke(ouro, ["version", "--json"]).output)["plugin API"] == "1.0"
