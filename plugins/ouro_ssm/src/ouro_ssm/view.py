"""What there is to see of a pool: where its blocks are, and whose they are."""

from collections.abc import Mapping

from attrs import frozen

from . import _kernel

__all__ = ["ClassView", "Owner", "PoolView", "Ring", "ShardView"]


@frozen
class Ring:
    """What client `writer` wrote to a flow, and nobody has read."""

    flow: int
    writer: int


@frozen
class Owner:
    """Who has so many blocks: a client, or a ring. A ring without a flow is one that is about to be emptied."""

    blocks: int
    client: int | None = None
    ring: Ring | None = None


@frozen
class ShardView:
    """Of one shard: the blocks that were allocated from it last, those of them that are free; how many its clients took
    from other shards (`stolen`), and how many came here by being freed after that (`migrated`), since the pool was
    made.
    """

    total: int
    free: int
    stolen: int
    migrated: int


@frozen
class ClassView:
    """Of one size class. `failed`: allocations that found no block, here or in the next two classes."""

    payload: int
    total: int
    free: int
    failed: int
    shards: list[ShardView]
    owners: list[Owner]


@frozen
class PoolView:
    """Of one pool; its numbers are read one by one while others allocate, so sums need not be exact."""

    bytes: int
    classes: list[ClassView]

    @classmethod
    def of(cls, pool: _kernel.Pool, rings: Mapping[int, Ring]) -> "PoolView":
        """`rings`: by owner word."""
        classes = []
        for (payload, total, used, failed), shards, owners in zip(
            pool.usage(), pool.shards(), pool.owners(), strict=True
        ):
            views = [ShardView(*numbers) for numbers in shards]
            named = [_owner(word, blocks, rings) for word, blocks in sorted(owners.items())]
            classes.append(ClassView(payload, total, total - used, failed, views, named))
        return cls(pool.size, classes)


def _owner(word: int, blocks: int, rings: Mapping[int, Ring]) -> Owner:
    if word < 1 << 31:
        return Owner(blocks, client=word)
    return Owner(blocks, ring=rings.get(word))
