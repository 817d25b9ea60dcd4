"""What commands say of themselves, and of mistakes."""

from typing import Any

import pytest
from click.testing import CliRunner

from ouro_core.cli.group import ouro
from ouro_core.cli.irm import run
from ouro_core.model.irm_requests import CreateName


@pytest.mark.parametrize("line", ["", "ipcp", "name", "bind", "unbind", "ipcp list"])
@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_is_no_failure(line: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.split()
    if word == "help" and len(words) > 1:
        return
    assert run([*words, word], "ouro irm") == 0
    assert capsys.readouterr().out.startswith(f"Usage: ouro irm {' '.join(words[:1])}".rstrip())


@pytest.mark.parametrize("menu", ["ipcp", "name", "bind", "unbind"])
def test_help_fits_a_screen(menu: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([menu, "help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 110


@pytest.mark.parametrize(("word", "meant"), [("stauts", "status"), ("plugin", "plugins"), ("rib lss", "ls")])
def test_what_was_meant(word: str, meant: str) -> None:
    result = CliRunner().invoke(ouro, word.split())
    assert result.exit_code == 2
    assert f'Did you mean "{meant}"?' in result.stderr


def test_unknown_keys_are_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ipcp", "list", "nme", "x"]) == 1
    assert capsys.readouterr() == (
        '"nme" is unknown, try "irm ipcp list".\n',
        'Known: type, name, layer. Did you mean "name"?\n',
    )


def test_a_failure_shows_one_line_of_usage(irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ipcp", "bootstrap", "name", "a", "layer", "l", "type", "nope"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert 'no IPCP type is called "nope"' in err


def test_an_open_name(irm: Any) -> None:
    assert run(["name", "create", "n", "open"]) == 0
    (request,) = irm.changes()
    assert isinstance(request, CreateName)
    assert request.info.open
