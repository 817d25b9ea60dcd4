"""What is read from /proc."""

import subprocess
import sys

from tests.bench.proc import Activity, activity, since, switches, ticks


def test_both_kinds_of_switches_count() -> None:
    assert switches("Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n") == 15


def test_ticks_with_a_name_that_looks_like_fields() -> None:
    fields = "S 1 2 3 4 5 6 7 8 9 10 70 7 12 13"
    assert ticks(f"42 (a) 1 2) {fields}") == 77


def test_threads_that_come_and_go() -> None:
    before = {1: Activity(4, 0.5), 2: Activity(100, 9.0)}
    after = {1: Activity(10, 2.5), 3: Activity(1, 0.25)}
    assert since(before, after) == Activity(7, 2.25)


def test_activity_of_a_process_that_wakes_and_works() -> None:
    code = """if True:
        import sys, time
        print(flush=True)
        sys.stdin.readline()
        for _ in range(20):
            time.sleep(0.001)
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        print(flush=True)
        sys.stdin.read()
        """
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        before = activity(program.pid)
        program.stdin.write(b"\n")
        program.stdin.flush()
        program.stdout.readline()
        done = since(before, activity(program.pid))
        program.stdin.close()
    assert done.switches >= 20
    assert done.cpu >= 0.04
