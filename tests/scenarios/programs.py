"""Small programs that tests run as processes of their own."""

ECHO = """
import sys
from ouro_core import OuroError, announce, flow_accept
announce(sys.argv[1])
announce(sys.argv[1])  # twice is harmless
print("bound", flush=True)
while True:
    with flow_accept() as flow:
        print("accepted", flush=True)
        try:
            while True:
                flow.write(flow.read())
        except OuroError as e:
            print("ended", e.code, flush=True)
"""
"""Serves the name in its argument, one flow after the other."""

ASK = """
import sys
from ouro_core import flow_alloc
with flow_alloc(sys.argv[1], timeout=10) as flow:
    for number in range(int(sys.argv[2])):
        flow.write(b"%d" % number)
        assert flow.read() == b"%d" % number
print("direct" if flow.direct else "layer", flush=True)
"""
"""Sends packets to a name and wants them back."""
