"""The daemon: start, stop, configuration, and everything that can be done to it through its socket."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ouro_core.model.errors import ConfigError, IpcpTypeError, IrmdError, NotFound, OuroError, UnknownName
from ouro_core.model.irm_requests import (
    Announce,
    BindProcess,
    BindProgram,
    BootstrapIpcp,
    CreateIpcp,
    DestroyIpcp,
    DestroyName,
    FlowAccept,
    FlowAlloc,
    ListIpcps,
    ListNames,
    RegName,
    RibRead,
)
from ouro_core.model.layer import IpcpState, LayerInfo
from ouro_core.model.request import Request
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.testing.host import Host, eventually
from ouro_core.wire.control import MAX_FRAME, Frame, Kind, encode, frame_bytes

from .programs import ASK, ECHO


def raw(host: Host) -> socket.socket:
    sock = connect(host.runtime / "irm.sock")
    sock.settimeout(20)
    return sock


def frame_of(request: Request[object]) -> bytes:
    name, body, _ = encode(request)
    return frame_bytes(Frame(Kind.REQUEST, 1, name, body))


# ---------------------------------------------------------------- start and stop


def test_it_ends_in_order_and_leaves_nothing(host: Host) -> None:
    info = host.call(CreateIpcp("local", "lo"))
    assert host.stop() == 0
    assert not (host.runtime / "irm.sock").exists()
    assert not host.descendants()
    assert not Path(f"/proc/{info.pid}").exists()
    assert "exited. Bye." in host.log.read_text()


def test_a_second_daemon_is_refused_and_the_first_goes_on(host: Host) -> None:
    second = host.run([sys.executable, "-m", "ouro_core.irm.daemon"])
    assert second.returncode == 1
    assert host.daemon is not None
    assert f"IRMd already running ({host.daemon.pid})" in second.stderr
    host.call(ListIpcps())


def test_the_directory_of_a_killed_daemon_is_taken_over(host: Host) -> None:
    host.kill()
    assert (host.runtime / "irm.sock").exists()
    with pytest.raises(IrmdError, match="ouro irmd"):
        host.call(ListIpcps())
    host.start()
    assert "didn't properly shut down last time" in host.log.read_text()


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.runtime.mkdir(mode=0o777)
    host.runtime.chmod(0o777)
    done = host.run([sys.executable, "-m", "ouro_core.irm.daemon"])
    assert done.returncode == 1
    assert "not writable by others" in done.stderr


@pytest.mark.parametrize("name", ["irmd.lock", "irm.sock"])
def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path)
    (host.runtime / name).mkdir(parents=True)
    host.runtime.chmod(0o755)
    done = host.run([sys.executable, "-m", "ouro_core.irm.daemon"])
    assert done.returncode == 1
    assert f"{host.runtime}/{name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_with_a_name_that_is_too_long(tmp_path: Path) -> None:
    """For a socket in it. Neither the daemon nor who asks it can know better."""
    host = Host(tmp_path / ("x" * 108))
    for words in (["-m", "ouro_core.irm.daemon"], ["-m", "ouro_core.cli", "status"]):
        done = host.run([sys.executable, *words])
        assert done.returncode == 1
        assert "longer than the 107 bytes" in done.stderr
        assert "Traceback" not in done.stderr
    assert not host.directory.exists()


def test_without_a_daemon_every_program_says_so(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with pytest.raises(IrmdError, match="ouro irmd"):
        host.call(ListIpcps())
    listing = host.run([sys.executable, "-m", "ouro_core.cli", "ipcp", "list"])
    assert listing.returncode == 1
    assert "Failed to communicate with the Ouroboros IPC Resource Manager daemon." in listing.stdout


def test_the_log_can_be_json_lines(tmp_path: Path) -> None:
    with Host(tmp_path, arguments=["--log", "json"]) as host:
        host.call(CreateIpcp("local", "lo"))
    entries = [json.loads(line) for line in host.log.read_text().splitlines()]
    assert {"irmd", "irmd/ipcp", "ipcpd/ipcp"} <= {e["component"] for e in entries}
    assert all({"time", "pid", "level", "text"} <= e.keys() for e in entries)


def test_protocol_debugging_by_component(tmp_path: Path) -> None:
    config = '[irmd]\ndirect = false\n[name.srv]\n[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
    with Host(tmp_path, config, ["--debug", "oap"]) as host:
        server = host.python(ECHO, "srv")
        eventually(lambda: host.rib("names").get("srv", {}).get("accepting"))
        assert host.python(ASK, "srv", "1").wait(30) == 0
        assert server.poll() is None
    text = host.log.read_text()
    assert "irmd/oap(PP): OAP_HDR [" in text
    assert "-->" in text
    assert "<--" in text


# ---------------------------------------------------------------- configuration


CONFIG = """
[name.one]
lb = "round-robin"
[name.two]
[local.first]
bootstrap = "lo"
hash = "SHA3_384"
autobind = true
reg = ["one", "three"]
[local.second]
"""


def test_a_configuration_file_makes_names_and_ipcps(tmp_path: Path) -> None:
    with Host(tmp_path, CONFIG) as host:
        eventually(lambda: len(host.call(ListIpcps()).ipcps) == 2)
        first, second = host.call(ListIpcps()).ipcps
        assert (first.name, first.layer_name, first.state) == ("first", "lo", IpcpState.OPERATIONAL)
        assert first.layer is not None
        assert first.layer.hash.name == "SHA3_384"
        assert (second.name, second.layer_name, second.state) == ("second", "Not enrolled.", IpcpState.BOOT)
        names = {n.name: n.balance.word for n in host.call(ListNames()).names}
        assert names == {"one": "round-robin", "two": "spillover", "three": "spillover", "first": "spillover",
                         "lo": "spillover"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[local.x]\nbootstrap = 'lo'\nwrong = 1\n", '[local.x]: unknown key "wrong"; known: autobind, bootstrap'),
        ("[local.x]\nbootstrap = 'lo'\nautobind = 'false'\n", "[local.x]: autobind is 'false'"),
        ("[local.x]\nbootstrap = 3\n", "[local.x]: bootstrap is 3"),
        ("[local.x]\nenrol = 'lo'\n", "[local.x]: an IPCP of type local has no operation enroll"),
        ("[local.x]\nhash = ['MD5']\n", "[local.x]: unknown hash"),
        ("[carrier-pigeon.x]\nbootstrap = 'lo'\n", "carrier-pigeon"),
        ("[eth-dix.x]\nbootstrap = 'lo'\ndev = 'v0'\n", "ouro-eth"),
        ("[irmd]\ndirect = 'perhaps'\n", "perhaps"),
        ("[irmd]\npackets = 'paper'\n", "paper"),
        ("[irmd]\npackets = 'heap'\n", "within one process only"),
        ("[name.n]\nlb = 'none'\n", '[name.n]: unknown lb "none"'),
        ("[name.n]\nlb = []\n", "unknown lb"),
        ("[name.n]\nprog = ['cat']\n", "[name.n]: cat is no absolute path"),
        ("irmd = 3\n", "[irmd]"),
        ("[name.n]\nprog = ['/does/not/exist']\n", "does not exist"),
        ("[name.n]\nserver_crt_file = '/does/not/exist'\n", "does not exist"),
        ("name = 3\n", "[name.some_name]"),
        ("this is no TOML", "is no TOML"),
    ],
)
def test_a_wrong_configuration_ends_the_daemon_with_the_reason(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "irmd.conf"
    path.write_text(text)
    host = Host(tmp_path)
    host.environment["OURO_BLOCK_PLUGINS"] = "eth"
    done = host.run([sys.executable, "-m", "ouro_core.irm.daemon", "--config", str(path)])
    assert done.returncode == 1
    assert says in done.stderr
    assert not host.descendants()


def test_a_configuration_file_that_is_not_there(tmp_path: Path) -> None:
    done = Host(tmp_path).run([sys.executable, "-m", "ouro_core.irm.daemon", "--config", str(tmp_path / "none")])
    assert done.returncode == 1
    assert "No such file" in done.stderr


# ---------------------------------------------------------------- requests that make no sense


def test_an_unknown_type_is_answered_with_the_known_ones_and_where_to_get_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.environment["OURO_BLOCK_PLUGINS"] = "udp"
    with host, pytest.raises(IpcpTypeError, match=r"udp4.*local.*ouro-udp"):
        host.call(CreateIpcp("udp4", "x"))


def test_unknown_things_are_errors_that_say_what_there_is(host: Host) -> None:
    with pytest.raises(IpcpTypeError, match=r"carrier-pigeon.*local"):
        host.call(CreateIpcp("carrier-pigeon", "x"))
    with pytest.raises(NotFound, match="4711"):
        host.call(DestroyIpcp(4711))
    with pytest.raises(NotFound, match="4711"):
        host.call(BootstrapIpcp(4711, LayerInfo("lo")))
    with pytest.raises(UnknownName, match="nobody"):
        host.call(DestroyName("nobody"))
    with pytest.raises(NotFound, match="1"):
        host.call(BindProcess(1, "name"))
    with pytest.raises(NotFound):
        host.call(RibRead("no/such/path"))
    with pytest.raises(OuroError, match="announce"):
        host.call(FlowAlloc("srv"))
    info = host.call(CreateIpcp("local", "lo"))
    with pytest.raises(ConfigError.__mro__[1], match="no_such_option"):
        host.call(BootstrapIpcp(info.id, LayerInfo("lo"), {"no_such_option": "1"}))
    with pytest.raises(OuroError, match="bootstrap or enroll"):
        host.call(RegName("srv", info.id))
    host.call(BootstrapIpcp(info.id, LayerInfo("lo")))
    with pytest.raises(OuroError, match="already in layer lo"):
        host.call(BootstrapIpcp(info.id, LayerInfo("lo")))
    with pytest.raises(OuroError, match="255"):
        host.call(CreateIpcp("local", "x" * 256))
    with pytest.raises(OuroError, match="does not exist"):
        host.call(BindProgram("/no/such/program", "srv"))


def test_an_allocation_to_an_unknown_name_fails_at_once(host: Host) -> None:
    code = (
        "import time\nfrom ouro_core import OuroError, flow_alloc\nt = time.monotonic()\n"
        "try:\n    flow_alloc('nobody')\nexcept OuroError as e:\n    print(e.code, time.monotonic() - t < 0.9)\n"
    )
    output, _ = host.python(code).communicate(timeout=30)
    assert output.split() == ["-1007", "True"]


# ---------------------------------------------------------------- bytes that make no sense


GARBAGE = {
    "noise": bytes(range(256)) * 8,
    "zero length": struct.pack("!I", 0),
    "too long": struct.pack("!I", MAX_FRAME + 1) + b"x" * 100,
    "not a frame": struct.pack("!I", 5) + b"\xff" * 5,
    "unknown message": frame_bytes(Frame(Kind.REQUEST, 1, "NoSuchThing", b"")),
    "malformed message": frame_bytes(Frame(Kind.REQUEST, 1, "FlowAlloc", b"\xff\xff\xff")),
    "a reply": frame_bytes(Frame(Kind.REPLY, 77, "IpcpList", b"")),
    "a value as request": frame_bytes(Frame(Kind.REQUEST, 1, "NameInfo", b"")),
    "descriptors announced": frame_bytes(Frame(Kind.REQUEST, 1, "ListIpcps", b"", fds=3)),
    "cancel of nothing": frame_bytes(Frame(Kind.CANCEL, 5)),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_harms_nobody(host: Host, name: str) -> None:
    with raw(host) as sock:
        sock.sendall(GARBAGE[name])
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert host.call(ListIpcps()).ipcps == ()


def test_half_sent_messages_hold_nobody_up(host: Host) -> None:
    whole = frame_of(ListNames())
    held = []
    for cut in range(1, len(whole)):
        sock = raw(host)
        sock.sendall(whole[:cut])
        held.append(sock)
    assert host.call(ListNames()).names == ()
    for sock in held:
        sock.close()
    assert host.call(ListNames()).names == ()


def test_a_message_in_single_bytes_is_understood(host: Host) -> None:
    with raw(host) as sock:
        for byte in frame_of(ListNames()):
            sock.send(bytes([byte]))
        assert sock.recv(65536)


def test_descriptors_nobody_asked_for_are_closed(host: Host) -> None:
    assert host.daemon is not None
    before = len(os.listdir(f"/proc/{host.daemon.pid}/fd"))
    with open(os.devnull) as file:
        for _ in range(50):
            with raw(host) as sock:
                socket.send_fds(sock, [frame_of(ListNames())], [file.fileno()] * 20)
                sock.recv(65536)
    eventually(lambda: host.daemon and len(os.listdir(f"/proc/{host.daemon.pid}/fd")) <= before + 1)


def test_a_client_that_vanishes_at_any_point(host: Host) -> None:
    """The connection closes with the request unread, half read, being worked on, or answered and not taken."""
    host.ouro("name", "create", "srv")
    requests: list[Request[object]] = [
        Announce("ghost"),
        CreateIpcp("local", "ghost"),
        ListIpcps(),
        RibRead(""),
        BindProcess(1, "srv"),
        FlowAlloc("srv"),
        FlowAccept(),
    ]
    for request in requests:
        for delay in (0.0, 0.001, 0.02):
            sock = raw(host)
            sock.sendall(frame_of(Announce("ghost")) + frame_of(request))
            time.sleep(delay)
            sock.close()
    eventually(lambda: host.status().processes == 0, what="no process is left")
    assert host.quiet()


def test_a_channel_after_an_error_is_as_good_as_before(host: Host) -> None:
    channel = BlockingChannel(connect(host.runtime / "irm.sock"))
    for _ in range(3):
        with pytest.raises(OuroError):
            channel.call(DestroyName("nobody"))
        assert channel.call(ListNames()).names == ()
    channel.close()


# ---------------------------------------------------------------- programs


def test_flows_directly_and_over_a_layer(host: Host, layered: Host) -> None:
    for each, way in ((host, "direct"), (layered, "layer")):
        server = each.python(ECHO, "srv")
        eventually(lambda: each.rib("names").get("srv", {}).get("accepting"), what="the server accepts")  # noqa: B023
        output, _ = each.python(ASK, "srv", "100").communicate(timeout=30)
        assert output.strip() == way
        server.kill()
        server.wait()
        eventually(each.quiet, what="nothing is left")


def test_a_program_is_started_when_somebody_wants_it(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom ouro_core import OuroError, flow_accept\n"
        "with flow_accept(timeout=20) as flow:\n    flow.write(' '.join(sys.argv[1:]).encode())\n"
        "    try:\n        flow.read()\n    except OuroError:\n        pass\n"
    )
    program.chmod(0o755)
    host.ouro("bind", "program", str(program), "name", "auto", "auto", "--", "with", "words")
    code = "from ouro_core import flow_alloc\nwith flow_alloc('auto') as flow:\n    print(flow.read().decode())\n"
    output, _ = host.python(code).communicate(timeout=40)
    assert output.strip() == "with words"
    assert host.status().programs_started == 1
    eventually(host.quiet)


def test_the_readme_sequence(host: Host) -> None:
    """The commands of the README, as they stand there, in one shell."""
    bin_dir = Path(sys.executable).parent
    script = """
        ouro ipcp bootstrap type local name lo layer lo
        ouro name create oping
        ouro name reg oping layer lo
        oping -l & server=$!
        ouro bind process $server name oping
        oping -n oping -c 3 -i 10
        kill $server
        wait
    """
    environment = {**host.environment, "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("bytes from oping: seq=") == 3
    assert "3 packets transmitted, 3 received, 0 out-of-order, 0% packet loss" in done.stdout


def test_an_unknown_option_gives_usage_and_status_1(tmp_path: Path) -> None:
    done = Host(tmp_path).run([sys.executable, "-m", "ouro_core.irm.daemon", "--no-such-option"])
    assert done.returncode == 1
    assert "usage: irmd" in done.stderr


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_sigterm_while_it_starts_ends_it_in_order(tmp_path: Path, delay: float) -> None:
    host = Host(tmp_path)
    host.start(wait=False)
    assert host.daemon is not None
    eventually(lambda: (host.runtime / "irmd.lock").exists(), what="it began")
    time.sleep(delay)
    assert host.stop() == 0
    assert not host.descendants()


def test_a_program_that_fails_to_serve_is_not_waited_for(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "broken.sh"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    unstartable = tmp_path / "unstartable"
    unstartable.write_text("#!/no/such/interpreter\n")
    unstartable.chmod(0o755)
    host.ouro("bind", "program", str(program), "name", "bad", "auto")
    host.ouro("bind", "program", str(unstartable), "name", "worse", "auto")
    code = (
        "import sys, time\nfrom ouro_core import OuroError, flow_alloc\nt = time.monotonic()\n"
        "try:\n    flow_alloc(sys.argv[1])\nexcept OuroError as e:\n    print(e.code, time.monotonic() - t < 4, e)\n"
    )
    for name, says in (("bad", "ended with status 3 before it accepted"), ("worse", "could not be started")):
        output, _ = host.python(code, name).communicate(timeout=30)
        assert output.startswith("-110 True")
        assert says in output


def test_programs_that_never_serve_are_started_so_many_times_and_all_end(tmp_path: Path) -> None:
    """Whoever asks for such a name, from anywhere, costs a process each time. They may ignore SIGTERM, and have
    children.
    """
    program = tmp_path / "idle.sh"
    program.write_text("#!/bin/sh\ntrap '' TERM\nsleep 1000\n")
    program.chmod(0o755)
    host = Host(tmp_path, "[irmd]\nstart_window = 0.02\n")
    code = (
        "from ouro_core import OuroError, flow_alloc\nfor _ in range(40):\n"
        "    try:\n        flow_alloc('idle')\n    except OuroError as e:\n        print(e.code, e)\n"
    )
    with host:
        host.ouro("bind", "program", str(program), "name", "idle", "auto")
        output, _ = host.python(code).communicate(timeout=60)
        *_, last = lines = output.splitlines()
        assert [line.split()[0] for line in lines] == ["-110"] * 40
        assert "32 programs that were started" in last
        assert host.status().programs_started == 32
        assert host.stop() == 0
    eventually(lambda: not host.descendants())


def test_two_ipcps_have_two_names(host: Host) -> None:
    host.call(CreateIpcp("local", "lo"))
    with pytest.raises(OuroError, match='an IPCP called "lo" already'):
        host.call(CreateIpcp("local", "lo"))
    with pytest.raises(OuroError, match="slash"):
        host.call(CreateIpcp("local", "a/b"))
    assert len(host.call(ListIpcps()).ipcps) == 1


READER = """
import sys, time
from ouro_core import State, announce, flow_accept
announce("srv")
with flow_accept() as flow:
    print("accepted", flush=True)
    time.sleep(1)
    number = 0
    try:
        for packet in flow:
            number += 1
        print("ended in order after", number, flush=True)
    except Exception as e:
        print("failed after", number, "dead" if flow.state & State.DEAD else "not dead", flush=True)
"""
WRITER = """
import os, signal, sys
from ouro_core import flow_alloc
flow = flow_alloc("srv")
for _ in range(200):
    flow.write(b"x")
if sys.argv[1] == "close":
    flow.close()
elif sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("how", "says"), [("close", "ended in order after 200"), ("exit", "ended in order after 200"),
                                           ("kill", "failed after 200 dead")])  # fmt: skip
@pytest.mark.parametrize("way", ["host", "layered"])
def test_a_reader_that_is_behind_can_tell_a_close_from_a_death(
    request: pytest.FixtureRequest, way: str, how: str, says: str
) -> None:
    each: Host = request.getfixturevalue(way)
    reader = each.python(READER)
    eventually(lambda: each.rib("names").get("srv", {}).get("accepting"))
    each.python(WRITER, how).wait(30)
    assert says in reader.communicate(timeout=30)[0]
