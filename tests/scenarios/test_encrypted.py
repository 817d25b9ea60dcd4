"""Packets of encrypted flows between real processes, and what an analyser gets."""

from pathlib import Path

import pytest

from .test_security import Secured

SERVE = """
import os, sys
from ouro_core import announce, flow_accept
announce(sys.argv[1])
print("bound", flush=True)
while True:
    with flow_accept() as flow:
        for packet in flow:
            flow.write(packet[::-1])
"""
SYNC = """
import os, sys
from ouro_core import RAW, RAW_NO_ERRORS, flow_alloc
for qos in RAW, RAW_NO_ERRORS:
    with flow_alloc(sys.argv[1], qos, timeout=20) as flow:
        for size in 1, 64, 1500, 20000:
            packet = os.urandom(size)
            flow.write(packet)
            assert flow.read() == packet[::-1]
        packets = [b"%d" % n for n in range(200)]
        left, back = packets, []
        while left:
            left = left[flow.write_many(left):]
        while len(back) < len(packets):
            back += flow.read_many()
        assert back == [packet[::-1] for packet in packets]
        assert flow.counters["undecryptable"] == 0
        print("undecryptable" in flow.counters, flow.qos.needs_crc)
"""
ASYNC = """
import asyncio, sys
from ouro_core import aio
async def main():
    async with await aio.flow_alloc(sys.argv[1], timeout=20) as flow:
        for number in range(200):
            await flow.write(b"%03d" % number)
            assert await flow.read() == (b"%03d" % number)[::-1]
        print(flow.counters["undecryptable"])
asyncio.run(main())
"""


@pytest.mark.parametrize("layer", [False, True], ids=["direct", "layer"])
@pytest.mark.parametrize("cipher", ["aes-128-gcm", "chacha20-poly1305", "aes-256-ctr"])
def test_encrypted_between_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: bool, cipher: str) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setenv("OURO_KEYLOG", str(keys))
    with Secured(tmp_path, layer, "--debug", "oap") as secured:
        for side in ("server", "client"):
            secured.write(f"{side}/srv/enc.conf", f"kex=X25519\ncipher={cipher}\n")
        secured.serve(SERVE)
        assert secured.ask(SYNC) == "True False\nTrue True"
        assert secured.ask(ASYNC) == "0"
        lines = [line.split(" ", 4) for line in keys.read_text().splitlines()]
        log = secured.log
    ids = {line[0] for line in lines}
    assert len(lines) == 6, "both ends of three flows"
    assert len(ids) == len({(line[0], line[3]) for line in lines}) == 3, "and each has one key"
    assert {(line[2], line[4]) for line in lines} == {(cipher, "srv")}
    assert all(len(identity) == 32 and f"[{identity[:16]} @" in log for identity in ids), "as OAP has it"
    assert all(line[3] not in log for line in lines)
