"""Ids, and those that nodes of the prototype are shown."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_dht.ids import is_ours, original, random_id, shown
from ouro_dht.wire import Contact, Request, Response, decode, encode


@given(st.randoms(use_true_random=False), st.sampled_from([28, 32, 48, 64]))
def test_there_and_back(rng: random.Random, size: int) -> None:
    id = random_id(rng, size)
    low = shown(id)
    assert len(id) == len(low) == size
    assert is_ours(id)
    assert is_ours(low)
    assert max(low[:2]) < 32
    assert original(low) == id
    assert original(id) == id
    assert shown(low) == low
    assert id[2:-1] == low[2:-1]


@given(st.binary(min_size=28, max_size=64))
def test_ids_of_others_stay_as_they_are(id: bytes) -> None:
    if not is_ours(id):
        assert shown(id) == original(id) == id
    if original(id) != id:
        assert shown(original(id)) == id


def test_ids_differ() -> None:
    rng = random.Random(1)
    ids = {random_id(rng, 32) for _ in range(1000)}
    assert len(ids) == len({shown(i) for i in ids}) == 1000


@pytest.mark.parametrize("moved", [64, 127, 255])
def test_what_only_looks_like_one(moved: int) -> None:
    id = random_id(random.Random(2), 32)
    strange = bytes((1, 1)) + id[2:-1] + bytes((moved,))
    assert original(strange) == strange
    strange = bytes((200, 1)) + id[2:-1] + bytes((5,))
    assert original(strange) == strange


def test_messages_are_read_with_the_ids_themselves() -> None:
    rng = random.Random(3)
    us, them, theirs = (Contact(random_id(rng, 32), a) for a in (5, 6, 7))
    foreign = Contact(rng.randbytes(32), 8)
    low, other = (Contact(shown(c.id), c.address) for c in (us, them))
    sent = Response(low, bytes(32), 1, (other, theirs, foreign), None)
    assert decode(encode(sent), 32) == Response(us, bytes(32), 1, (them, theirs, foreign), None)
    request = Request(low, low.id, 1)
    assert decode(encode(request), 32) == Request(us, low.id, 1)  # a key is a key
    assert decode(encode(request), 32, bytes) == request
