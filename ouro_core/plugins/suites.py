"""The suites that a host's plugins register, as the exchange wants them."""

from ..oap.suites import OapSuites
from .host import PluginHost
from .kinds import BROUGHT_BY

__all__ = ["oap_suites"]


def oap_suites(plugins: PluginHost) -> OapSuites:
    """All of them, in tables. PluginError: two with one name or number."""
    return OapSuites.of(
        plugins.digests.values(), plugins.kdfs.values(), plugins.cipher_suites.values(),
        plugins.kex_suites.values(), plugins.authenticators.values(), BROUGHT_BY,
    )  # fmt: skip
