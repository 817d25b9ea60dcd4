"""`--json` anywhere in a command line: standard output is one JSON value, whatever happens."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ouro_core.cli.asjson import json_last, take_json
from ouro_core.cli.group import ouro
from ouro_core.cli.irm import run as irm_run


def run(line: str) -> Result:
    return CliRunner().invoke(ouro, line.split())


@pytest.mark.parametrize(
    "line",
    ["--json name list", "name --json list", "name list --json", "irm --json name list", "--json irm n l",
     "rib --json ls", "--json rib ls", "rib cat --json", "--json version", "plugins --json check",
     "plugins info local --json", "--json status", "crypto --json list"],
)  # fmt: skip
def test_wherever_it_stands(line: str, irm: Any) -> None:
    result = run(line)
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [("rib cat nope --json", 1, -2), ("--json ipcp lst", 1, -1), ("irm --json frob", 1, -1), ("stauts --json", 2, -1),
     ("rib lss --json", 2, -1), ("--json rib ls --frob", 2, -1), ("plugins info frob --json", 1, -2),
     ("ipcp list nme x --json", 1, -1)],
)  # fmt: skip
def test_failures(line: str, status: int, code: int, irm: Any) -> None:
    result = run(line)
    assert result.exit_code == status
    found = json.loads(result.stdout)
    assert found["code"] == code
    assert found["error"]
    assert result.stderr


@pytest.mark.usefixtures("no_irm")
@pytest.mark.parametrize("line", ["rib ls", "rib cat x", "name list", "ipcp create name a type local", "status"])
def test_without_a_daemon(line: str) -> None:
    result = run(f"--json {line}")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == -1002


def test_what_is_behind_two_dashes_is_not_ours(irm: Any) -> None:
    assert json_last(["--json", "a", "--", "--json"]) == ["a", "--json", "--", "--json"]
    assert take_json(["a", "--", "--json"]) == (["a", "--", "--json"], False)
    assert run("--json bind prog sh name x auto -- --json").exit_code == 0
    assert irm.asked[-1].args == ("--json",)
    assert irm_run(["--json"]) == 255


def test_certificates(tmp_path: Any) -> None:
    made = json.loads(run(f"pki init --directory {tmp_path} --json").stdout)
    assert made == {"certificate": f"{tmp_path}/cacert/ca.pem", "key": f"{tmp_path}/pki/ca.key.pem"}
    again = run(f"--json pki init --directory {tmp_path}")
    assert (again.exit_code, json.loads(again.stdout)["code"]) == (1, -17)
