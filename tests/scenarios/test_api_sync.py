"""Synchronous flows between real processes of a real daemon."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ouro_core.testing.host import Host, eventually

SERVER = """
import os, signal, threading
from ouro_core import Irm, OuroError, flow_accept

def echo(flow):
    with flow:
        try:
            for packet in flow:
                flow.write(packet)
        except OuroError:
            pass

def serve():
    while True:
        try:
            flow = flow_accept()
        except OuroError as e:
            print("refused", e.code, flush=True)
        else:
            threading.Thread(target=echo, args=(flow,), daemon=True).start()

threading.Thread(target=serve, daemon=True).start()
with Irm() as irm:
    irm.bind_process(os.getpid(), "srv")
print("bound", flush=True)
signal.pause()
"""
"""Echoes packets of any number of flows to the name "srv"."""

RECEIVER = """
import time
from ouro_core import announce, flow_accept

announce("srv")
print("bound", flush=True)
with flow_accept() as flow:
    time.sleep(0.3)
    got = list(flow)
print(len(got), got == [b"%d" % n for n in range(len(got))], flush=True)
"""


def serve(host: Host) -> "subprocess.Popen[str]":
    server = host.python(SERVER)
    assert server.stdout is not None
    assert server.stdout.readline() == "bound\n"
    return server


@pytest.fixture(params=["direct", "layer"])
def served(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with an echo server for "srv", directly or over a layer."""
    config = '[irmd]\ndirect = false\n[name.srv]\n[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
    with Host(config=config if request.param == "layer" else "") as host:
        serve(host)
        yield host


def run(host: Host, code: str, *arguments: str) -> str:
    """What a program printed; it must end well."""
    program = host.python(code, *arguments)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    return output


def lines(program: "subprocess.Popen[str]", *expected: str) -> None:
    """Wait until a program has printed these lines."""
    assert program.stdout is not None
    for line in expected:
        assert program.stdout.readline().rstrip("\n") == line


def test_everything_a_flow_does(served: Host) -> None:
    code = """
import select
from ouro_core import *
with flow_alloc("srv", timeout=20, data=b"hello") as flow:
    assert flow.name == "srv" and flow.qos == RAW and flow.flow_id > 0, flow
    flow.read_timeout = 20
    for size in (1, 64, 1500, 100_000):
        flow.write(bytes(size))
        assert flow.read() == bytes(size)
    flow.write_many([b"1", b"2", b"3"])
    got = []
    while len(got) < 3:
        got += flow.read_many()
    assert got == [b"1", b"2", b"3"]
    flow.write(b"0123456789")
    buffer = bytearray(6)
    assert (flow.readinto(buffer), flow.readinto(buffer)) == (6, 4)
    flow.read_timeout = 0.01
    try:
        flow.read()
    except FlowTimeout as e:
        assert e.code == -110
    else:
        raise AssertionError
    flow.blocking = False
    try:
        flow.read()
    except WouldBlock:
        pass
    flow.write(b"x")
    while not select.select([flow], [], [], 20)[0] or not flow.events() & Event.PACKET:
        pass
    assert flow.read() == b"x"
    try:
        flow.write(bytes(2**21))
    except TooLong as e:
        assert e.code == -90
try:
    flow.read()
except BadDescriptor:
    print("ok")
"""
    assert run(served, code) == "ok\n"


def test_crc_between_processes(served: Host) -> None:
    code = """
from ouro_core import *
with flow_alloc("srv", RAW_NO_ERRORS, timeout=20) as flow:
    flow.write(b"0123456789")
    assert flow.read() == b"0123456789"
    assert flow.counters["rx_bytes"] == 14
    print("ok")
"""
    assert run(served, code) == "ok\n"


@pytest.mark.parametrize("qos", ["DATA", "BEST_EFFORT", "VIDEO", "VOICE"])
def test_frct_between_processes(served: Host, qos: str) -> None:
    code = f"""
import threading
from ouro_core import *
packets = [b"%05d" % n * 100 for n in range(3000)]
with flow_alloc("srv", {qos}, timeout=20) as flow:
    def write():
        for packet in packets:
            flow.write(packet)
    thread = threading.Thread(target=write)
    thread.start()
    got = []
    while len(got) < len(packets):
        got += flow.read_many()
    thread.join()
    assert got == packets
    print("ok")
"""
    assert run(served, code) == "ok\n"


def test_a_flow_that_is_closed_at_once_delivers_all(host: Host) -> None:
    server = host.python(RECEIVER)
    lines(server, "bound")
    code = """
from ouro_core import *
with flow_alloc("srv", DATA, timeout=20) as flow:
    for n in range(250):
        flow.write(b"%d" % n)
"""
    assert run(host, code) == ""
    lines(server, "250 True")
    eventually(lambda: host.status().flows == 0)


def test_many_threads_allocate_and_talk(served: Host) -> None:
    code = """
import threading
from ouro_core import flow_alloc
done = []
def talk(n):
    for i in range(5):
        with flow_alloc("srv", timeout=30) as flow:
            flow.read_timeout = 30
            for j in range(20):
                flow.write(b"%d %d %d" % (n, i, j))
                assert flow.read() == b"%d %d %d" % (n, i, j)
    done.append(n)
threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(len(done), len(__import__("ouro_core.api.process").api.process.current()._idle) <= 8)
"""
    assert run(served, code) == "8 True\n"
    eventually(lambda: served.status().flows == 0)


def test_a_set_over_many_flows(served: Host) -> None:
    code = """
from ouro_core import *
flows = [flow_alloc("srv", timeout=30) for _ in range(40)]
with FlowSet(flows) as waiting:
    for number, flow in enumerate(flows):
        flow.write(b"%d" % number)
    answers = {}
    while len(answers) < 40:
        for flow, events in waiting.wait(30):
            assert events & Event.PACKET
            answers[flow] = int(flow.read())
    assert answers == {flow: number for number, flow in enumerate(flows)}
    for flow in flows[:20]:
        flow.close()
    assert len(waiting) == 20
for flow in flows:
    flow.close()
print("ok")
"""
    assert run(served, code) == "ok\n"
    eventually(lambda: served.status().flows == 0)


# ---------------------------------------------------------------- fork


def test_a_forked_child_has_no_flows_but_can_allocate(served: Host) -> None:
    code = """
import os
from ouro_core import *
flow = flow_alloc("srv", timeout=20)
flow.write(b"parent")
inherited = set(os.listdir("/proc/self/fd"))
child = os.fork()
if not child:
    try:
        for call in (flow.read, lambda: flow.write(b"x"), lambda: flow.readinto(bytearray(1)), flow.read_many):
            try:
                call()
            except BadDescriptor as e:
                assert "parent" in str(e), e
            else:
                raise AssertionError(call)
        assert flow.closed
        flow.close()
        with flow_alloc("srv", timeout=20) as own:
            own.write(b"child")
            assert own.read() == b"child"
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert flow.read() == b"parent"
flow.write(b"still")
assert flow.read() == b"still"
flow.close()
print("ok")
"""
    assert run(served, code) == "ok\n"
    eventually(lambda: served.status().flows == 0)


def test_a_child_that_outlives_its_parent_does_not_hold_its_flows(host: Host) -> None:
    server = serve(host)
    code = """
import os, signal
from ouro_core import flow_alloc
flow = flow_alloc("srv", timeout=20)
if not os.fork():
    print(os.getpid(), flush=True)
    signal.pause()
os._exit(0)
"""
    program = host.python(code)
    assert program.stdout is not None
    child = int(program.stdout.readline())
    assert program.wait(30) == 0
    eventually(lambda: host.status().flows == 0)
    assert host.status().processes == 1, "the server"
    os.kill(child, 0)
    os.kill(child, signal.SIGKILL)
    assert server.poll() is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(host: Host, method: str) -> None:
    serve(host)
    path = host.directory / "pool.py"
    path.write_text("""
import multiprocessing, sys
from ouro_core import flow_alloc
def ask(n):
    with flow_alloc("srv", timeout=30) as flow:
        flow.write(b"%d" % n)
        return int(flow.read())
if __name__ == "__main__":
    ask(0)
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        print(sum(pool.map(ask, range(30))))
""")
    program = host.spawn([sys.executable, str(path), method])
    output, _ = program.communicate(timeout=90)
    assert output == "435\n"
    eventually(lambda: host.status().flows == 0)


# ---------------------------------------------------------------- signals


def test_interrupted_accept_leaves_nothing_behind(host: Host) -> None:
    code = """
import os, signal
from ouro_core import Irm, flow_accept
signal.signal(signal.SIGINT, signal.default_int_handler)
from ouro_core.api.process import current
current()
with Irm() as irm:
    irm.bind_process(os.getpid(), "srv")
for turn in range(3):
    print("accepting", flush=True)
    try:
        flow_accept()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("accepting", flush=True)
with flow_accept() as flow:
    flow.write(b"served")
    flow.read_timeout = 20
    flow.read()
"""
    server = host.python(code)
    for _ in range(3):
        lines(server, "accepting")
        eventually(lambda: host.rib("names/srv")["accepting"] == 1)
        server.send_signal(signal.SIGINT)
        lines(server, "interrupted")
    lines(server, "accepting")
    eventually(lambda: host.rib("names/srv")["accepting"] == 1)
    ask = 'from ouro_core import flow_alloc\nwith flow_alloc("srv") as f:\n    print(f.read())\n    f.write(b"x")\n'
    assert run(host, ask) == "b'served'\n"
    assert server.wait(30) == 0
    eventually(host.quiet)


def test_interrupts_at_any_moment_of_an_allocation_leak_no_flow(served: Host) -> None:
    code = """
import random, signal, sys
from ouro_core import flow_alloc
class Enough(Exception):
    pass
def handler(*_):
    raise Enough
signal.signal(signal.SIGALRM, handler)
chance, interrupted = random.Random(int(sys.argv[1])), 0
with flow_alloc("srv", timeout=20) as flow:
    pass
for _ in range(150):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.004))
        flow = flow_alloc("srv", timeout=20)
        flow.close()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Enough:
        interrupted += 1
flow = None
print("interrupted", interrupted, flush=True)
signal.pause()
"""
    program = served.python(code, "1")
    assert program.stdout is not None
    said: list[str] = []  # also what the interpreter says about exceptions in finalizers, which it ignores
    while not (said and said[-1].startswith("interrupted")):
        said.append(program.stdout.readline())
        assert said[-1], "".join(said)
    assert int(said[-1].split()[1]) > 10
    eventually(lambda: served.status().flows == 0, what="all flows are deallocated while the process lives")
    assert program.poll() is None


# ---------------------------------------------------------------- deaths


def test_a_process_that_exits_closes_its_flows(served: Host) -> None:
    code = """
import sys
import tempfile
from ouro_core import flow_alloc
flows = [flow_alloc("srv", timeout=20) for _ in range(10)]
for flow in flows:
    flow.write(bytes(1000))
if sys.argv[1] == "exit":
    sys.exit()
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""
    for way in ("exit", "kill"):
        program = served.python(code, way)
        output, _ = program.communicate(timeout=60)
        assert program.returncode == (0 if way == "exit" else -signal.SIGKILL), output
        eventually(lambda: served.status().flows == 0 and served.status().processes == 1)


SURVIVOR = """
import sys
import tempfile
from ouro_core import *
def talk():
    flow = flow_alloc("srv", timeout=20)
    flow.write(b"x")
    assert flow.read() == b"x"
    return flow
flow = talk()
print("up", flush=True)
try:
    flow.read()
except FlowDown:
    print("down", flush=True)
try:
    flow_alloc("srv")
except IrmdError:
    print("no daemon", flush=True)
sys.stdin.readline()
import time
deadline = time.monotonic() + 60
while True:
    try:
        again = talk()
        break
    except OuroError:
        assert time.monotonic() < deadline
        time.sleep(0.05)
flow.close()
again.write(b"y")
assert again.read() == b"y", "closing the flow of the dead daemon hit one of the new one"
again.close()
print("again", flush=True)
"""


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_a_daemon_that_goes_takes_the_flows_of_its_layers_along(layered: Host, way: str) -> None:
    serve(layered)
    program = subprocess.Popen(
        [sys.executable, "-c", SURVIVOR],
        env=layered.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines(program, "up")
        assert layered.daemon is not None
        if way == "killed":
            layered.kill()
        else:
            layered.daemon.terminate()
            layered.daemon.wait(30)
        lines(program, "down", "no daemon")
        layered.start()
        serve(layered)
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        lines(program, "again")
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()


def test_a_daemon_that_hangs(host: Host) -> None:
    serve(host)
    code = """
import sys
from ouro_core import *
flow = flow_alloc("srv", timeout=20)
flow.write(b"up")
print(flow.read(), flush=True)  # the server has its end, too
sys.stdin.readline()
flow.write(b"x")
print(flow.read(), flush=True)
try:
    flow_alloc("srv", timeout=0.1)
except FlowTimeout as e:
    print(e.code, flush=True)
flow.close()
print("closed", flush=True)
sys.stdin.readline()
with flow_alloc("srv", timeout=20) as flow:
    flow.write(b"again")
    print(flow.read(), flush=True)
sys.stdin.readline()
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdin is not None
    assert host.daemon is not None

    def go() -> None:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()

    try:
        lines(program, "b'up'")
        host.daemon.send_signal(signal.SIGSTOP)
        go()
        lines(program, "b'x'", "-110", "closed")
        host.daemon.send_signal(signal.SIGCONT)
        go()
        lines(program, "b'again'")
        eventually(lambda: host.status().flows == 0)
        go()
        assert program.wait(30) == 0
    finally:
        host.daemon.send_signal(signal.SIGCONT)
        program.kill()
        program.communicate()


def test_a_peer_that_hangs_times_out_and_one_that_is_idle_does_not(served: Host) -> None:
    code = """
import threading
from ouro_core import *
flow = flow_alloc("srv", QosSpec(timeout=600), timeout=20)
flow.write(b"x")
assert flow.read() == b"x"
flow.read_timeout = 2
try:
    flow.read()
except FlowTimeout:
    print("alive", flush=True)
flow.read_timeout = 30
try:
    flow.read()
except FlowPeer:
    print("gone", flush=True)
"""
    server = served._programs[0]
    program = served.python(code)
    lines(program, "alive")
    server.send_signal(signal.SIGSTOP)
    try:
        lines(program, "gone")
    finally:
        server.send_signal(signal.SIGCONT)
    assert program.wait(30) == 0


def test_no_thread_for_flows_without_a_timeout(host: Host) -> None:
    serve(host)
    code = """
import os
from ouro_core import *
def threads():
    return len(os.listdir("/proc/self/task"))
flow = flow_alloc("srv", QosSpec(timeout=0), timeout=20)
print(threads())
with flow_alloc("srv", timeout=20) as other:
    print(threads())
flow.close()
"""
    assert run(host, code) == "1\n2\n"


def test_close_wakes_a_reader_in_another_thread(served: Host) -> None:
    code = """
import threading
from ouro_core import *
flow = flow_alloc("srv", timeout=20)
def read():
    try:
        flow.read()
    except BadDescriptor as e:
        print("woken", e.code)
reader = threading.Thread(target=read)
reader.start()
reader.join(0.1)
assert reader.is_alive()
flow.close()
reader.join(20)
"""
    assert run(served, code) == "woken -9\n"


# ---------------------------------------------------------------- users

AS_USER = """
import os, sys
from ouro_core import *
from ouro_core.plugins import PluginHost
PluginHost.from_environment().get("pool_allocators", "ssm")  # a user may not be allowed to read where it is installed
import ouro_core.api.irm, ouro_core.api.process
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
"""
SERVE_AS = (
    AS_USER
    + """
import threading
def serve():
    with flow_accept(timeout=60) as flow:
        for packet in flow:
            flow.write(packet)
serving = threading.Thread(target=serve)
serving.start()
with Irm() as irm:
    irm.bind_process(os.getpid(), "srv")
print("bound", flush=True)
serving.join()
"""
)
ASK_AS = (
    AS_USER
    + """
with flow_alloc("srv", timeout=20) as flow:
    flow.write(b"x" * 1000)
    assert flow.read() == b"x" * 1000
    print("direct" if flow.direct else "layer")
"""
)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")
@pytest.mark.parametrize(
    ("server", "client", "way"),
    [(0, 65534, "direct"), (65534, 0, "direct"), (65534, 65534, "direct"), (65534, 1000, "layer")],
)
def test_flows_between_users(server: int, client: int, way: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ouro-users-") as directory:
        os.chmod(directory, 0o755)
        with Host(Path(directory), '[local.lo]\nbootstrap = "lo"\n') as host:
            serving = host.python(SERVE_AS, str(server))
            lines(serving, "bound")
            host.ouro("name", "reg", "srv", "layer", "lo")
            assert run(host, ASK_AS, str(client)) == f"{way}\n"
            assert serving.wait(30) == 0
            eventually(host.quiet)
