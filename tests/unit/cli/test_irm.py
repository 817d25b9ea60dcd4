"""`irm` against an IRM that answers over a real socket: words, exit statuses and what is asked of the IRM."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from ouro_core.cli import status
from ouro_core.cli.irm import menu as menu_of
from ouro_core.cli.irm import run
from ouro_core.cli.session import run_menu
from ouro_core.model.errors import IpcpError, NotFound, NotPermitted
from ouro_core.model.irm_requests import (
    BindIpcp,
    BindProcess,
    BindProgram,
    BootstrapIpcp,
    ConnectIpcp,
    CreateIpcp,
    CreateName,
    DestroyIpcp,
    DestroyName,
    DisconnectIpcp,
    EnrollIpcp,
    RegName,
    UnbindIpcp,
    UnbindProcess,
    UnbindProgram,
    UnregName,
)  # fmt: skip
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm, LoadBalance, NameInfo
from ouro_core.model.qos import RAW, VOICE

NO_IRMD = "Failed to communicate with the Ouroboros IPC Resource Manager daemon.\n"
Out = Callable[[], tuple[str, str]]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    return lambda: tuple(capsys.readouterr())  # type: ignore[return-value]


def sh(line: str) -> int:
    """`irm` with the words of a line."""
    return run(line.split())


# ---------------------------------------------------------------- words of the dispatchers


def test_no_word_is_255(out: Out) -> None:
    assert run([]) == 255
    assert out()[0].startswith("Usage: irm")


@pytest.mark.parametrize("menu", ["ipcp", "bind", "unbind", "name"])
def test_a_missing_sub_command_shows_the_usage(menu: str, out: Out) -> None:
    assert run([menu]) == 1
    usage = out()[0]
    assert usage.startswith(f"Usage: irm {menu}")
    assert run([menu, "help"]) == 0
    assert out()[0] == usage


@pytest.mark.parametrize(
    ("words", "says"),
    [(["frob"], '"frob" is unknown, try "irm help".\n'), (["i", "frob"], '"frob" is unknown, try "irm ipcp help".\n'),
     (["b", "x"], '"x" is unknown, try "irm bind help".\n'), (["u", "x"], '"x" is unknown, try "irm unbind help".\n')],
)  # fmt: skip
def test_unknown_words_go_to_standard_error(words: list[str], says: str, out: Out) -> None:
    assert run(words) == 1
    assert out() == ("", says)


@pytest.mark.parametrize(
    ("words", "says"),
    [(["ipcp", "create", "frob", "x"], '"frob" is unknown, try "irm ipcp create".\n'),
     (["ipcp", "bootstrap", "frob", "x"], 'Unknown option: "frob".\n'),
     (["name", "register", "n", "frob", "x"], '"frob" is unknown, try "irm name register".\n'),
     (["bind", "prog", "/bin/sh", "frob"], '"frob" is unknown, try "irm bind program".\n')],
)  # fmt: skip
def test_unknown_keys_go_to_standard_output(words: list[str], says: str, out: Out) -> None:
    assert run(words) == 1
    assert out()[0] == says


@pytest.mark.usefixtures("no_irm")
@pytest.mark.parametrize(
    ("words", "named"),
    [("ipcp list", True), ("name list", True), ("name create n", True), ("name destroy n", True),
     ("bind program /bin/sh name n", True), ("unbind program sh", True), (f"bind process {os.getpid()} name n", True),
     ("ipcp create name a type local", False), ("ipcp destroy name a", False), ("name register n ipcp a", False),
     ("bind ipcp a name n", False), ("ipcp enroll name a layer l", False)],
)  # fmt: skip
def test_without_a_daemon(words: str, named: bool, out: Out) -> None:
    assert run(words.split()) == 1
    stdout, stderr = out()
    assert stdout == (NO_IRMD if named else "")
    assert "ouro irmd" in stderr


# ---------------------------------------------------------------- lists


def test_the_table_of_ipcps(irm: Any, out: Out) -> None:
    assert run(["ipcp", "list"]) == 0
    assert out() == ("No IPCPs in system.\n\n", "")
    irm.add("l1", layer="layer1", pid=4711)
    irm.add("a rather long name of an IPCP", "eth-dix", pid=12345678)
    assert run(["i", "l"]) == 0
    assert out()[0] == (
        "+---------+----------------------+------------+----------------------+\n"
        "|     pid |                 name |       type |                layer |\n"
        "+---------+----------------------+------------+----------------------+\n"
        "|    4711 |                   l1 |      local |               layer1 |\n"
        "| 12345678 | a rather long name of an IPCP |    eth-dix |        Not enrolled. |\n"
        "+---------+----------------------+------------+----------------------+\n"
        "\n"
    )


def test_filters_of_the_list_are_applied(irm: Any, out: Out) -> None:
    irm.add("a", "local", "x")
    irm.add("b", "udp4", "x")
    irm.add("c", "udp6")
    for words, names in [("type udp*", "bc"), ("name a", "a"), ("layer x type local", "a"), ("n zz", "")]:
        assert run(["ipcp", "list", *words.split(), "--json"]) == 0
        assert [i["name"] for i in json.loads(out()[0])] == list(names)


def test_the_table_of_names(irm: Any, out: Out) -> None:
    assert run(["name", "list"]) == 0
    assert out() == ("No names in system.\n\n", "")
    irm.names = [NameInfo("oping", LoadBalance.ROUND_ROBIN), NameInfo("cat")]
    assert run(["name", "list"]) == 0
    assert out()[0] == (
        "+----------------------------------------------------+----------------------+\n"
        "|                                               name |  load-balance policy |\n"
        "+----------------------------------------------------+----------------------+\n"
        "|                                              oping |          round-robin |\n"
        "|                                                cat |            spillover |\n"
        "+----------------------------------------------------+----------------------+\n"
    )
    assert run(["name", "list", "list", "op", "--json"]) == 0
    assert [n["name"] for n in json.loads(out()[0])] == ["oping"]


# ---------------------------------------------------------------- IPCPs


def test_create_and_destroy(irm: Any, out: Out) -> None:
    assert sh("ipcp create n a t local") == 0
    assert irm.asked == [CreateIpcp("local", "a")]
    assert out() == ("", "")
    assert sh("ipcp destroy name a") == 0
    assert irm.changes()[-1] == DestroyIpcp(1)
    assert sh("ipcp destroy name a") == 1, "there are no IPCPs at all"
    irm.add("b")
    out()
    assert sh("ipcp destroy name a") == 0
    assert len(irm.ipcps) == 1
    assert out() == ("", 'Nothing to do: no IPCP is called "a"; see: irm ipcp list\n')


def test_create_takes_types_in_full(irm: Any, out: Out) -> None:
    assert sh("ipcp create name a type loc") == 1
    stdout, stderr = out()
    assert stdout.splitlines() == ['IPCP type "loc" is unknown.', "Usage: irm ipcp create name NAME type TYPE"]
    assert "known: local" in stderr
    assert sh("ipcp create name a") == 1
    assert out()[0] == "Usage: irm ipcp create name NAME type TYPE\n"


def test_bootstrap_creates_what_is_missing(irm: Any, out: Out) -> None:
    assert sh("i b n a l net t loc h SHA3_512") == 0
    assert irm.changes() == [CreateIpcp("local", "a"), BootstrapIpcp(1, LayerInfo("net", HashAlgorithm.SHA3_512), {})]
    assert out() == ("", "")


def test_bootstrap_without_type_needs_an_ipcp(irm: Any, out: Out) -> None:
    assert sh("ipcp bootstrap name a layer net") == 1
    assert out()[0] == "No IPCPs matching a found.\n"
    irm.add("a")
    irm.add("a")
    assert sh("ipcp bootstrap name a layer net --json") == 0
    assert [r.ipcp for r in irm.changes()] == [1, 2], "all of that name, in turn"
    assert [i["layer"]["name"] for i in json.loads(out()[0])] == ["net", "net"]


def test_bootstrap_checks_before_it_creates(irm: Any, out: Out) -> None:
    for words, says in [
        ("hash MD5", 'Unknown parameter for hash: "MD5".\n'),
        ("frob x", 'Unknown option: "frob".\n'),
        ("type", "Usage: irm ipcp bootstrap name NAME"),
        ("type frob", "Usage: irm ipcp bootstrap name NAME"),
    ]:
        assert sh(f"ipcp bootstrap name a layer net type local {words}") == 1
        assert out()[0].startswith(says)
    assert run(["ipcp", "bootstrap", "name", "a", "layer", "x" * 256, "type", "local"]) == 1
    assert out()[0].startswith("Layer name too long.\nUsage: ")
    assert sh("ipcp bootstrap name a type local") == 1
    assert irm.changes() == []


def test_bootstrap_refuses_another_type(irm: Any, out: Out) -> None:
    irm.add("a", "udp4")
    assert sh("ipcp bootstrap name a layer net type local") == 1
    assert out()[0] == "Types do not match.\n"


def test_keys_of_other_types_do_no_harm(irm: Any, out: Out) -> None:
    assert sh("ipcp bootstrap name a layer net type local ttl 3 autobind") == 0
    stdout, stderr = out()
    assert stdout == "Can not bind this IPCP type,autobind disabled.\n"
    assert "ttl" in stderr
    assert irm.changes()[-1] == BootstrapIpcp(1, LayerInfo("net"), {})


def test_a_failed_bootstrap_leaves_nothing_behind(irm: Any, out: Out) -> None:
    irm.refuse[BootstrapIpcp] = IpcpError("no such device")
    assert sh("ipcp bootstrap name a layer net type local") == 1
    assert irm.changes()[-1] == DestroyIpcp(1)
    assert out() == ("", "no such device\n")


def test_enroll(irm: Any, out: Out) -> None:
    assert sh("ipcp enroll name a layer net autobind") == 0
    assert irm.changes() == [CreateIpcp("unicast", "a"), EnrollIpcp(1, "net"), BindIpcp(1, "a"), BindIpcp(1, "net")]
    assert sh("ipcp e n a d member") == 0
    assert irm.changes()[-1] == EnrollIpcp(1, "member")
    assert out() == ("", "")
    assert sh("ipcp enroll name a") == 1
    assert out()[0].startswith("Usage: irm ipcp enroll")


def test_enroll_in_the_wrong_layer(irm: Any, out: Out) -> None:
    assert sh("ipcp enroll name a layer other dst x") == 1
    assert out()[0] == "Enrollment destination does not match requested layer.\n"
    irm.refuse[EnrollIpcp] = IpcpError("nobody there")
    assert sh("ipcp enroll name a layer net") == 1
    assert out() == ("Failed to enroll IPCP.\n", "a with net: nobody there\n")


def test_connect_with_a_time_out(irm: Any, out: Out) -> None:
    irm.add("a", "unicast", "net")
    assert sh("ipcp connect name a dst b timeout 1.5") == 0
    brisk = evolve(RAW, timeout=1500)
    assert irm.changes() == [ConnectIpcp(1, "b", "Management", brisk), ConnectIpcp(1, "b", "Data Transfer", brisk)]
    irm.asked.clear()
    for nonsense in ("0", "-1", "soon", "nan", "inf", "4294968"):
        assert sh(f"ipcp connect name a dst b timeout {nonsense}") == 1
        assert f'Unknown parameter for timeout: "{nonsense}".' in out()[0]
    assert irm.changes() == []


def test_connect_both_components(irm: Any, out: Out) -> None:
    irm.add("a", "unicast", "net")
    assert sh("ipcp connect name a dst b qos voice") == 0
    assert irm.changes() == [ConnectIpcp(1, "b", "Management", RAW), ConnectIpcp(1, "b", "Data Transfer", VOICE)]
    irm.asked.clear()
    assert sh("ipcp connect name a dst b comp d* qos frob") == 0
    assert irm.changes() == [ConnectIpcp(1, "b", "Data Transfer", RAW)]
    assert out()[0] == "Unknown QoS cube, defaulting to raw.\n"
    irm.asked.clear()
    irm.views["a"] = {"connected": {"b": ["Data Transfer", "Management"]}}
    assert sh("ipcp disconnect name a dst b") == 0
    assert irm.changes() == [DisconnectIpcp(1, "b", "Data Transfer"), DisconnectIpcp(1, "b", "Management")]
    assert sh("ipcp connect name zz dst b") == 1
    assert sh("ipcp connect name a dst b component zz") == 1


# ---------------------------------------------------------------- names and bindings


def test_name_create(irm: Any, out: Out, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    assert run(["name", "create", "n"]) == 0
    assert run(["n", "c", "m", "lb", "spill", "skey", str(key)]) == 0
    assert irm.changes() == [
        CreateName(NameInfo("n", LoadBalance.ROUND_ROBIN)),
        CreateName(NameInfo("m", LoadBalance.SPILLOVER, server_key=str(key))),
    ]
    assert run(["name", "create", "n", "ccrtpath", "/no/such"]) == 1
    assert out()[0] == "Failed to check path /no/such: No such file or directory\n"
    assert run(["name", "destroy", "n"]) == 0
    assert irm.changes()[-1] == DestroyName("n")
    assert run(["name", "create"]) == 1


def test_register_by_patterns(irm: Any, out: Out) -> None:
    assert sh("name register n ipcp *") == 1
    assert out()[0] == "Failed to list IPCPs.\n"
    irm.add("a1", layer="x")
    irm.add("a2", layer="y")
    irm.add("b", layer="x")
    irm.add("c")
    assert sh("name register n ipcp a* layer x") == 0
    assert irm.changes() == [RegName("n", 1), RegName("n", 2), RegName("n", 3)], "each once"
    irm.asked.clear()
    assert sh("name unregister n layer *") == 0
    assert irm.changes() == [UnregName("n", 1), UnregName("n", 2), UnregName("n", 3)], "an IPCP without layer has none"
    assert sh("name register n ipcp zz") == 0
    assert out()[0] == ""
    assert sh("name register n") == 1


def test_nothing_to_do(irm: Any, out: Out) -> None:
    """No error of `irm`, as in the prototype, which still asks; an error of `ouro`."""
    irm.add("a", "unicast", "net")
    irm.views["a"] = {"registered": ["n"], "connected": {"c%2Fd": ["Management"]}}
    for line, why in (
        ("name unregister m ipcp *", '"m" is not registered with a'),
        ("name unregister n layer zz", 'no IPCP or layer matches "zz"'),
        ("name register n layer zz", 'no IPCP or layer matches "zz"'),
        ("ipcp disconnect name a dst b", 'a did not connect with "b", but with: c%2Fd'),
        ("ipcp disconnect name a dst c/d component dt", 'a did not connect with "c/d"'),
        ("ipcp destroy name b", 'no IPCP is called "b"'),
    ):
        assert run(line.split()) == 0
        assert run(line.split(), "ouro irm") == 0
        stdout, stderr = out()
        assert (stdout, stderr.count(f"Nothing to do: {why}")) == ("", 2)
        menu, *words = line.split()
        assert run_menu(menu_of(menu), words, "ouro") == 1
        stdout, stderr = out()
        assert stdout == ""
        assert stderr.startswith(why)
    assert irm.changes().count(UnregName("m", 1)) == irm.changes().count(DisconnectIpcp(1, "b", "Management")) == 3
    for line in ("name unregister n ipcp a", "ipcp disconnect name a dst c/d"):
        menu, *words = line.split()
        assert run_menu(menu_of(menu), words, "ouro") == 0
        assert out() == ("", "")


def test_what_was_meant(out: Out) -> None:
    for line, meant in (("nmae list", "name"), ("ipcp boostrap", "bootstrap"), ("ipcp create nmae a", "name")):
        assert run(line.split()) == 1
        assert out()[1].endswith(f' Did you mean "{meant}"?\n')


def test_bind_program(irm: Any, out: Out, tmp_path: Path) -> None:
    program = tmp_path / "prog"
    program.write_text("#!/bin/sh\n")
    assert run(["b", "p", str(program), "n", "x"]) == 1
    assert out()[0] == f"Cannot execute {program}, please check permissions.\n"
    program.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(program)
    assert run(["bind", "program", str(link), "name", "x", "auto", "--", "-l", "--json"]) == 0
    assert irm.changes() == [BindProgram(str(program), "x", ("-l", "--json"), auto=True)]
    assert run(["bind", "prog", "sh", "name", "x"]) == 0
    assert irm.changes()[-1] == BindProgram(os.path.realpath("/bin/sh"), "x")
    assert run(["bind", "prog", "no-such-program", "name", "x"]) == 1
    assert out()[0] == "no-such-program does not exist.\n"
    assert run(["unbind", "program", "sh"]) == 0
    assert irm.changes()[-1] == UnbindProgram(os.path.realpath("/bin/sh"), "")
    irm.refuse[UnbindProgram] = NotFound("not bound")
    assert run(["unbind", "program", "sh", "name", "x"]) == 1
    assert irm.changes()[-1] == UnbindProgram("sh", "x"), "by its base name"


def test_bind_process(irm: Any, out: Out) -> None:
    pid = os.getpid()
    assert run(["bind", "proc", str(pid), "name", "x"]) == 0
    assert run(["unbind", "proc", str(pid), "name", "x"]) == 0
    assert irm.changes() == [BindProcess(pid, "x"), UnbindProcess(pid, "x")]
    for word in ("frob", "0", "-1", str(2**22 + 1), str(2**70)):
        assert run(["bind", "process", word, "name", "x"]) == 1
        assert out()[0] == f'"{word}" is not a valid process id.\n'


def test_bind_ipcp(irm: Any, out: Out) -> None:
    irm.add("a")
    assert sh("bind ipcp a name x") == 0
    assert sh("unbind i a") == 0
    assert irm.changes() == [BindIpcp(1, "x"), UnbindIpcp(1, "")]
    assert sh("bind ipcp zz name x") == 1
    assert "zz" in out()[1]


def test_errors_as_json(irm: Any, out: Out) -> None:
    irm.refuse[CreateName] = NotPermitted("not yours")
    assert sh("name create n --json") == 1
    assert json.loads(out()[0]) == {"error": "not yours", "code": -1}
    assert sh("name create n lb frob --json") == 1
    assert "frob" in json.loads(out()[0])["error"]


def test_status_counts(irm: Any, out: Out) -> None:
    irm.add("a", layer="net")
    irm.add("b", "udp4")
    assert run(["status", "--json"]) == 0
    found = json.loads(out()[0])
    assert (found["processes"], found["flows"]) == (2, 1)
    assert found["types"] == {"local": 1, "udp4": 1}
    assert found["layers"] == ["net"]
    assert found["pools"] == {"0": {"512": {"used": 3, "total": 768}}}
    assert run(["status"]) == 0
    text = out()[0]
    assert "1 local, 1 udp4" in text
    assert "512 B 3/768" in text


@pytest.mark.usefixtures("no_irm")
def test_the_commands_as_processes() -> None:
    irm = subprocess.run([sys.executable, "-c", "from ouro_core.cli import irm; irm()"], capture_output=True, text=True)
    assert (irm.returncode, irm.stdout.split()[:2]) == (255, ["Usage:", "irm"])
    ipcp = subprocess.run([sys.executable, "-m", "ouro_core.cli", "ipcp", "list"], capture_output=True, text=True)
    assert (ipcp.returncode, ipcp.stdout) == (1, NO_IRMD)


# ---------------------------------------------------------------- ipcp show


SHOWN = """\
info
    name  l1
    type  local
    hash  none
flows
    7
        state  ALLOCATED
        tx     5
directory: none
medium
    mtu        1500
    up         true
    addresses  192.0.2.1, 2001:db8::1
    servers    none
frames
    rx 12, tx 3, short 1
packets
    nothing
"""


@pytest.mark.parametrize("line", ["ipcp show l1", "i s l1", "ipcp show name l1"])
def test_show_prints_what_the_rib_has_of_an_ipcp(irm: Any, out: Out, line: str) -> None:
    irm.add("l1", "local", "net")
    assert sh(line) == 0
    assert out()[0] == SHOWN


def test_show_of_an_unknown_ipcp(irm: Any, out: Out) -> None:
    assert sh("ipcp show nobody") == 1
    assert 'no IPCP is called "nobody"' in out()[1]
    assert sh("ipcp show") == 1


def test_status_waits_for_the_configuration(irm: Any, out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    irm.status["configured"] = False
    assert sh("status") == 0
    assert "still being configured" in out()[0]
    threading.Timer(0.2, lambda: irm.status.update(configured=True)).start()
    assert sh("status --wait") == 0
    assert "still being configured" not in out()[0]
    irm.status["configured"] = False
    monkeypatch.setattr(status, "_PATIENCE", 0.2)
    assert sh("status --json --wait") == 1
    assert "configuration file" in json.loads(out()[0])["error"]


@pytest.mark.usefixtures("no_irm")
def test_status_does_not_wait_for_ever(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_PATIENCE", 0.2)
    assert sh("status --wait") == 1
    stdout, stderr = out()
    assert stdout == NO_IRMD
    assert "ouro irmd" in stderr
