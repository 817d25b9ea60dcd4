"""Quality of service against the table of the specification, as the prototype sends it: without a CRC (flows.md 2)."""

import attrs
import pytest

from ouro_core.model.errors import InvalidArgument
from ouro_core.model.qos import (
    BEST_EFFORT,
    DATA,
    NP1,
    QOS_BY_NAME,
    RAW,
    RAW_NO_ERRORS,
    VIDEO,
    VOICE,
    Cube,
    QosSpec,
    qos_by_name,
)

NEVER = 2**32 - 1
TABLE = {  # delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout
    "raw": (RAW, (NEVER, 0, 0, 1, 1, 0, NEVER, 120_000)),
    "raw_no_errors": (RAW_NO_ERRORS, (NEVER, 0, 0, 1, 0, 0, NEVER, 120_000)),
    "best_effort": (BEST_EFFORT, (NEVER, 0, 0, 1, 1, 1, NEVER, 120_000)),
    "video": (VIDEO, (100, 2**64 - 1, 3, 1, 1, 1, 100, 120_000)),
    "voice": (VOICE, (50, 100_000, 5, 1, 1, 1, 50, 120_000)),
    "data": (DATA, (1000, 0, 0, 0, 1, 1, 2000, 120_000)),
    "np1": (NP1, (NEVER, 0, 0, NEVER, NEVER, 0, NEVER, 0)),
}


@pytest.mark.parametrize("name", TABLE)
def test_presets(name: str) -> None:
    spec, row = TABLE[name]
    assert attrs.astuple(spec) == row


@pytest.mark.parametrize(
    ("name", "frct", "crc"),
    [
        ("raw", False, False),
        ("raw_no_errors", False, True),
        ("best_effort", True, False),
        ("video", True, False),
        ("voice", True, False),
        ("data", True, False),
        ("np1", False, False),
    ],
)
def test_what_a_flow_needs(name: str, frct: bool, crc: bool) -> None:
    spec = TABLE[name][0]
    assert (spec.needs_frct, spec.needs_crc) == (frct, crc)


@pytest.mark.parametrize(
    ("spec", "cube"),
    [
        (RAW, Cube.BEST_EFFORT),
        (BEST_EFFORT, Cube.BEST_EFFORT),
        (DATA, Cube.BEST_EFFORT),
        (NP1, Cube.BEST_EFFORT),
        (VIDEO, Cube.VIDEO),
        (VOICE, Cube.VOICE),
        (attrs.evolve(VOICE, delay=51), Cube.VIDEO),
        (attrs.evolve(VOICE, bandwidth=100_001), Cube.VIDEO),
        (attrs.evolve(VOICE, availability=4), Cube.VIDEO),
        (attrs.evolve(VOICE, max_gap=51), Cube.VIDEO),
        (attrs.evolve(VIDEO, delay=101), Cube.BEST_EFFORT),
        (attrs.evolve(VIDEO, availability=2), Cube.BEST_EFFORT),
        (attrs.evolve(VIDEO, max_gap=101), Cube.BEST_EFFORT),
        (QosSpec(delay=0, availability=255, max_gap=0), Cube.VOICE),
    ],
)
def test_cubes(spec: QosSpec, cube: Cube) -> None:
    assert spec.cube is cube


def test_cubes_have_the_numbers_of_the_prototype() -> None:
    assert [int(c) for c in (Cube.BEST_EFFORT, Cube.VIDEO, Cube.VOICE)] == [0, 1, 2]


@pytest.mark.parametrize("field", [a.name for a in attrs.fields(QosSpec)])
def test_fields_have_the_widths_of_the_wire(field: str) -> None:
    largest = {"bandwidth": 2**64 - 1, "availability": 255, "in_order": 255}.get(field, NEVER)
    assert getattr(QosSpec(**{field: largest}), field) == largest
    for wrong in (-1, largest + 1):
        with pytest.raises(InvalidArgument, match=field):
            QosSpec(**{field: wrong})
    with pytest.raises(TypeError):
        QosSpec(**{field: 1.0})  # type: ignore[arg-type]


def test_words_of_the_command_line() -> None:
    assert QOS_BY_NAME == {"raw": RAW, "best": BEST_EFFORT, "video": VIDEO, "voice": VOICE, "data": DATA}
    assert qos_by_name("voice") is VOICE
    with pytest.raises(InvalidArgument, match='unknown QoS "quick"; known: raw, best, video, voice, data'):
        qos_by_name("quick")
