"""What a `Carrier` takes upon itself, and what it counts."""

from attrs import define, frozen

__all__ = ["CarrierCounters", "Limits"]


@frozen
class Limits:
    """What a `Carrier` takes upon itself. Seconds and bytes; `*_a_peer` for each peer, the others in all."""

    probe_tries: int = 3
    probe_interval: float = 0.1
    probes: int = 256
    """Peers that are being asked."""
    known: float = 60.0
    """How long an answer counts, ..."""
    unanswered: float = 10.0
    """... and that there was none."""
    peers: int = 1024
    """Of whom something is remembered."""
    answers_a_peer: float = 20.0
    """A second, after `answer_burst` at once."""
    answer_burst: int = 10
    message: int = 128 * 1024
    """The longest one, sent or received."""
    sending_a_peer: int = 8
    sending: int = 128
    """Messages under way to peers."""
    patience: float = 10.0
    """Until a message that is sent, or that is received, is given up."""
    receiving_a_peer: int = 8
    receiving: int = 256
    """Messages of which fragments are kept."""
    memory_a_peer: int = 512 * 1024
    memory: int = 4 * 1024 * 1024
    """For fragments, 128 for each included."""
    complete: int = 4096
    """Messages remembered because their fragments may come once more, ..."""
    complete_for: float = 30.0
    """... and for how long."""


@define
class CarrierCounters:
    """Extension bodies, and what became of them."""

    probes_sent: int = 0
    probes_received: int = 0
    answers_received: int = 0
    fragments_sent: int = 0
    fragments_sent_again: int = 0
    fragments_received: int = 0
    messages_sent: int = 0
    messages_undelivered: int = 0
    messages_received: int = 0
    messages_expired: int = 0
    """Given up because fragments did not come."""
    messages_evicted: int = 0
    """Given up for others: no memory."""
    duplicates: int = 0
    malformed: int = 0
    contradictory: int = 0
    """Fragments that say something else of their message than others."""
    refused: int = 0
    """Messages longer than the limit."""
    unexpected: int = 0
    """Answers to no question of ours."""
    unanswered: int = 0
    """Not answered as the peer asks too often."""
