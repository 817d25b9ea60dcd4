"""What a member counts (in the RIB at `dht/counters`)."""

from attrs import define, field

__all__ = ["Counters"]


def _by_reason() -> dict[str, int]:
    return {}


@define
class Counters:
    """Since the start, in messages unless it says otherwise."""

    sent: int = 0
    sent_bytes: int = field(default=0, metadata={"unit": "bytes"})
    received: int = 0
    received_bytes: int = field(default=0, metadata={"unit": "bytes"})
    stores_sent: int = 0
    stores_received: int = 0
    requests_sent: int = 0
    requests_received: int = 0
    responses_sent: int = 0
    responses_received: int = 0
    timeouts: int = field(default=0, metadata={"help": "requests that were not answered"})
    unexpected: int = field(default=0, metadata={"help": "responses to nothing that was asked, or too late"})
    impostors: int = field(default=0, metadata={"help": "responses that came from another member than was asked"})
    limited: int = field(default=0, metadata={"help": "messages beyond what one source may send"})
    malformed: dict[str, int] = field(factory=_by_reason, metadata={"help": "messages that were none, by reason"})
    stores: dict[str, int] = field(factory=_by_reason, metadata={"help": "what became of values, by outcome"})
    queries: int = field(default=0, metadata={"unit": "queries"})
    found: int = field(default=0, metadata={"unit": "queries"})
    from_cache: int = field(default=0, metadata={"unit": "queries"})
    from_store: int = field(default=0, metadata={"unit": "queries"})
    lookups: int = field(default=0, metadata={"unit": "lookups"})
    lookup_rounds: int = field(default=0, metadata={"help": "sum over lookups for values"})
    lookup_requests: int = 0
    refused: int = field(default=0, metadata={"help": "answers with which no flow could be had"})
    published: int = field(default=0, metadata={"unit": "names"})
    replicated: int = field(default=0, metadata={"unit": "values"})
    expired: int = field(default=0, metadata={"unit": "values"})
    withdrawn: int = field(default=0, metadata={"unit": "values"})
    proxied: int = field(default=0, metadata={"help": "second answers to nodes of the prototype"})

    def malformed_because(self, reason: str) -> None:
        """Count a message that was none."""
        self.malformed[reason] = self.malformed.get(reason, 0) + 1

    def stored(self, outcome: str) -> None:
        """Count what became of a value."""
        self.stores[outcome] = self.stores.get(outcome, 0) + 1
