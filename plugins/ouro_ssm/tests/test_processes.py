"""Two processes, one flow."""

import os
import zlib
from typing import Any

import pytest

from ouro_core.model.errors import FlowDown


def checked(data: bytes, number: int) -> bool:
    return zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little") and int.from_bytes(data[4:8], "little") == number


@pytest.mark.parametrize("size", [1, 64, 1500, 16384, 1 << 20])
def test_ping_pong(host: Any, size: int) -> None:
    end, process = host.remote("echo")
    for _ in range(200 if size < 1 << 20 else 20):
        data = os.urandom(size)
        end.write(data)
        assert end.read() == data
    end.close()
    process.finish()


@pytest.mark.parametrize(("size", "batch"), [(8, 1), (64, 32), (1500, 1), (1500, 32), (20000, 1)])
def test_a_stream_arrives_whole_and_in_order(host: Any, size: int, batch: int) -> None:
    end, process = host.remote("write", 20000, size, batch)
    number = 0
    while number < 20000:
        for data in end.read_many(32) if number % 2 else [end.read()]:
            assert checked(data, number)
            number += 1
    process.finish()
    with pytest.raises(FlowDown):
        end.read()
    assert end.counters()["rejected"] == 0


def test_a_stream_through_a_pool_that_is_smaller_than_the_ring(small: Any) -> None:
    end, process = small.remote("write", 20000, 1500)
    for number in range(20000):
        assert checked(end.read(), number)
    process.finish()


def test_a_forked_child_is_refused_and_its_parent_is_not(host: Any) -> None:
    end, process = host.remote("fork")
    assert process.hear() == {"refused": ["read: PacketsError", "queued: PacketsError", "write: PacketsError"]}
    assert end.read() == b"parent"
    process.finish()
