"""Suites that `cryptography` works for.

The package is imported when a suite is first used, not before: a process that only lists suites, or has plain flows
alone, is spared the time. Builds of it against other libraries than OpenSSL lack algorithms, so each suite is tried
once, when somebody first wants to know whether it works.
"""

from abc import abstractmethod
from functools import cached_property

from ouro_core.contracts.crypto import Suite

__all__ = ["CryptographySuite"]


class CryptographySuite(Suite):
    """A suite of `cryptography`."""

    provider = "cryptography"

    @cached_property
    def unavailable(self) -> str | None:  # type: ignore[override]  # a constant, found out when it is needed
        try:
            self._try()
        except Exception as error:  # the import, or whatever a build says that lacks the algorithm
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            return f"cryptography does not bring it here ({why}); pip install --force-reinstall 'cryptography>=50'"
        return None

    @abstractmethod
    def _try(self) -> object:
        """Use the algorithm; any exception when it is not there."""
