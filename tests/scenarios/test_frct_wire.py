"""Reliable flows between two hosts over a wire that loses frames: files arrive as they were."""

from pathlib import Path

import pytest

from tests.bench.frct import over_udp, over_wire, program, transfer
from tests.bench.wire import Wire, missing

pytestmark = pytest.mark.timeout(180)
SIZE = 2_000_000
LONG = 120.0

needs_wire = pytest.mark.skipif(bool(missing()), reason=f"a wire {missing()}")


@needs_wire
@pytest.mark.parametrize(
    ("type", "encrypted"), [("udp4", False), ("udp4", True), ("eth-dix", False), ("eth-llc", True)]
)
def test_a_file_over_a_wire_that_loses_frames(type: str, encrypted: bool, tmp_path: Path) -> None:
    """One frame in twenty is lost, either way."""
    if encrypted:
        for side in ("server", "client"):
            (tmp_path / side / "srv").mkdir(parents=True)
            (tmp_path / side / "srv" / "enc.conf").write_text("kex=X25519\n")
    with Wire(loss=0.05, delay=0.001) as wire, over_wire(wire, type, str(tmp_path)) as (server, client):
        taking = server.spawn(program("take", "srv"))
        given = client.run(program("give", "srv", str(SIZE), "1400"), LONG)
        assert given.returncode == 0, given.stderr
        digest, again, how = given.stdout.split()
        assert taking.stdout is not None
        size, _, taken = taking.stdout.readline().split()
        assert (int(size), taken) == (SIZE, digest)
        assert int(again) > 20
        assert how == ("encrypted" if encrypted else "plain")


@needs_wire
def test_unreliable_flows_go_on_over_a_wire_that_loses_frames() -> None:
    with Wire(loss=0.05) as wire, over_wire(wire) as path:
        packets, _, _, gaps = transfer(path, "best", 1000, 1, "2000000")
        # what is lost before the first that arrives is no gap; the last one may have been sent more than once
        assert 1990 <= packets + gaps < 2005
        assert 30 < gaps < 300


def test_over_udp_nothing_is_lost() -> None:
    with over_udp() as path:
        packets, size, _, _ = transfer(path, "data", 8000, 32, str(8_000_000))
        assert (packets, size) == (1000, 8_000_000)


@needs_wire
def test_a_wire_delays_and_loses_as_it_says() -> None:
    with Wire(delay=0.05) as wire, over_wire(wire) as (server, client):
        server.spawn(program("echo", "srv"))
        answer = client.run(program("ping", "srv", "raw", "64", "10"), LONG)
        assert 100_000 < float(answer.stdout) < 200_000, "µs"
