"""What the core tests its movers with, on native ones: the frames that the prototype was recorded with, byte by byte,
and what the contract leaves to movers.
"""

import random
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from ouro_ssm import _kernel
from ouro_ssm.system import SsmPacketSystem

from ouro_core.builtin.movers.window import Sender
from ouro_core.contracts.programs import Window

TESTS = Path(__file__).resolve().parents[3] / "tests" / "unit" / "packets"
OF_PYTHON_ALONE = {
    "test_a_forwarder_that_is_held_back_does_not_spin",  # that one looks from time to time; a native one is told
    "test_a_forwarder_gives_up_an_end_that_its_own_client_closed",  # noticed there with the next packet, here at once
}


def on_ssm(name: str) -> ModuleType:
    spec = spec_from_file_location(f"{name}_on_ssm", TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HeapPacketSystem = SsmPacketSystem  # type: ignore[attr-defined]
    return module


if not TESTS.is_dir():
    pytest.skip("the tests of the core are not here", allow_module_level=True)
for module in map(on_ssm, ("test_captures", "test_movers")):
    shared = {"bench", "wire"}
    globals().update(
        {
            name: value
            for name, value in vars(module).items()
            if (name.startswith("test_") or name in shared) and name not in OF_PYTHON_ALONE
        }
    )


TRACES = on_ssm("test_window").TRACES


@pytest.mark.parametrize("step", TRACES)
def test_the_window_of_a_sender(step: int) -> None:
    """unicast.md 17.6, in every column."""
    created = 1_000_000_000
    trace = _kernel.WindowTrace(Window(), created)
    for i in range(max(TRACES[step]) + 1):
        wait = trace.packet(1000, created + (i + 1) * step)
        if i in TRACES[step]:
            assert (wait, *trace.state()) == TRACES[step][i]
        if step == 100_000 and i == 400:
            trace.feedback(1000)


@pytest.mark.parametrize("burst", [0, 1, 16])
def test_the_pace_of_a_sender(burst: int) -> None:
    """As the readable form has it, for packets of all sizes at all times."""
    rng = random.Random(burst)
    window = Window(burst=burst)
    now = 1_000_000_000
    native, readable = _kernel.WindowTrace(window, now), Sender(window, now)
    for n in range(20_000):
        size = rng.randrange(1, 1500)
        now += rng.choice((0, 1000, 20_000, 300_000))
        assert native.packet(size, now) == readable.packet(size, now)
        assert native.pace(now) == readable.pace(now)
        if n % 500 == 499:
            ece = rng.randrange(0, 2000)
            native.feedback(ece)
            readable.feedback(ece)


def test_the_reports_of_a_receiver() -> None:
    """unicast.md 17.7"""
    trace = _kernel.WindowTrace(Window(), 0)
    reports = [trace.marked(10 if i < 18 else 0) for i in range(23)]
    assert {i: ece for i, ece in enumerate(reports) if ece is not None} == {0: 10, 2: 30, 10: 99, 21: 0}


def test_a_window_survives_what_it_should_never_see() -> None:
    trace = _kernel.WindowTrace(Window(slot_shift=40, limit=10), 0)
    assert trace.packet(11, 1) == 1_000_000_000
    trace = _kernel.WindowTrace(Window(), 0)
    now = 1
    for n in range(300):  # a packet now, one in a year, reports of everything
        now += (1, 10**6, 10**12, 3 * 10**16)[n % 4]
        trace.feedback(0xFFFF if n % 3 else 0)
        assert 0 <= trace.packet(1000, now) <= 1_000_000_000
        assert trace.state()[2] >= 0
