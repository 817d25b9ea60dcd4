"""The suites a node has, found by configuration name and by number."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Generic, TypeVar

from attrs import evolve, frozen

from ouro_core.contracts.crypto import Authenticator, CipherSuite, Digest, Kdf, KexSuite, Suite
from ouro_core.model.errors import CryptError, PluginError
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS

from .security import PqPolicy, Security

__all__ = ["OapSuites", "SuiteTable"]

S = TypeVar("S", bound=Suite)


class SuiteTable(Generic[S]):
    """The suites of one kind. `kind` is what messages call it: "cipher". `brought_by`: names of suites, and the
    distributions that have them, for messages when they are missing.

    PluginError: two suites with one name or one NID.
    """

    def __init__(self, kind: str, suites: Iterable[S] = (), brought_by: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._brought_by = brought_by or {}
        self._by_name: dict[str, S] = {}
        self._by_nid: dict[int, S] = {}
        for suite in suites:
            other = self._by_name.get(suite.name) or self._by_nid.get(suite.nid)
            if other is not None:
                raise PluginError(f"two {kind} suites for one name or number: {other} and {suite}; block one's plugin")
            self._by_name[suite.name] = self._by_nid[suite.nid] = suite
        self._barred: Mapping[str, str] = {}

    def __iter__(self) -> Iterator[S]:
        """All of them, weakest first."""
        return iter(sorted(self._by_name.values(), key=lambda suite: suite.rank))

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def nids(self) -> frozenset[int]:
        """All numbers, those of unavailable suites included: they are known on the wire."""
        return frozenset(self._by_nid)

    def available(self) -> Iterator[S]:
        """Those that work here and are not barred, weakest first."""
        return (suite for suite in self if suite.unavailable is None and suite.name not in self._barred)

    def barred(self) -> Iterator[S]:
        """Those that would work here."""
        return (suite for suite in self if suite.unavailable is None and suite.name in self._barred)

    def without(self, barred: Callable[[S], bool], reason: str) -> "SuiteTable[S]":
        """The same table, some of whose suites must not be used. Their numbers and names are known all the same."""
        table = SuiteTable(self.kind, self._by_name.values(), self._brought_by)
        table._barred = {suite.name: reason for suite in self if barred(suite)}
        return table

    @property
    def missing(self) -> str:
        """What could be here, at the end of a message: "; ML-KEM-512 comes with ..."; "" when nothing is known of."""
        names = [name for name in self._brought_by if name not in self._by_name]
        if not names:
            return ""
        where = ", ".join(dict.fromkeys(self._brought_by[name] for name in names))
        return f"; {', '.join(names)} come with the distribution {where}, which is not installed, or not loaded"

    def named(self, name: str) -> S:
        """The suite of this configuration name. CryptError: unknown, with the known ones; or why it is not
        available.
        """
        return self._usable(self._by_name.get(name), f'"{name}"')

    def numbered(self, nid: int) -> S:
        """The suite of this number. CryptError as `named`."""
        return self._usable(self._by_nid.get(nid), f"number {nid}")

    def _usable(self, suite: S | None, wanted: str) -> S:
        if suite is None:
            known = ", ".join(known.name for known in self) or "none; install or unblock the plugin that brings it"
            raise CryptError(f"{self.kind} {wanted} is not known here; known: {known}{self.missing}")
        if suite.name in self._barred:
            raise CryptError(f"{self.kind} {suite.name} must not be used: {self._barred[suite.name]}")
        if suite.unavailable is not None:
            raise CryptError(f"{self.kind} {suite.name} is not available here: {suite.unavailable}")
        return suite


@frozen
class OapSuites:
    """All suites, one table a kind. Made once by whoever loaded the plugins: `OapSuites.of(...)`."""

    digests: SuiteTable[Digest]
    kdfs: SuiteTable[Kdf]
    ciphers: SuiteTable[CipherSuite]
    kexes: SuiteTable[KexSuite]
    authenticators: SuiteTable[Authenticator]

    @classmethod
    def of(
        cls,
        digests: Iterable[Digest] = (),
        kdfs: Iterable[Kdf] = (),
        ciphers: Iterable[CipherSuite] = (),
        kexes: Iterable[KexSuite] = (),
        authenticators: Iterable[Authenticator] = (),
        brought_by: Mapping[str, Mapping[str, str]] | None = None,
    ) -> "OapSuites":
        """From the flattened results of the five `ouro_register_*` hooks. `brought_by`: by kind, "kex_suites", where
        to get what is missing. PluginError as `SuiteTable`.
        """
        where = brought_by or {}
        return cls(
            SuiteTable("digest", digests),
            SuiteTable("kdf", kdfs),
            SuiteTable("cipher", ciphers),
            SuiteTable("key exchange", kexes, where.get("kex_suites")),
            SuiteTable("authenticator", authenticators, where.get("authenticators")),
        )

    @cached_property
    def known_ciphers(self) -> frozenset[int]:
        """NIDs that a message may carry: the protocol's, and what plugins add."""
        return self.ciphers.nids.union(CIPHER_NIDS.values())

    @cached_property
    def known_digests(self) -> frozenset[int]:
        """The same for kdf_nid and md_nid."""
        return self.digests.nids.union(self.kdfs.nids, DIGEST_NIDS.values())

    @cached_property
    def classical(self) -> "OapSuites":
        """All but the post-quantum ones."""
        reason = "it is post-quantum, and pqc = off"
        return evolve(
            self,
            kexes=self.kexes.without(lambda kex: kex.post_quantum, reason),
            authenticators=self.authenticators.without(lambda family: family.post_quantum, reason),
        )

    def under(self, security: Security) -> "OapSuites":
        """Those that a name's policy leaves."""
        return self.classical if security.pqc is PqPolicy.OFF else self

    def request_hash(self, md_nid: int) -> Digest:
        """The digest that hashes a request of this md_nid: SHA-384 when it is 0 (oap.md 2). CryptError."""
        return self.digests.numbered(md_nid or DIGEST_NIDS["sha384"])
