"""The suites that a host's plugins register, as the exchange wants them."""

from ..contracts.ipcp import Registrations
from ..model.capability import Capability
from ..oap.policy import HYBRID
from ..oap.suites import OapSuites
from .host import PluginHost
from .kinds import BROUGHT_BY

__all__ = ["oap_suites", "own_capabilities"]


def oap_suites(plugins: PluginHost) -> OapSuites:
    """All of them, in tables. PluginError: two with one name or number."""
    return OapSuites.of(
        plugins.digests.values(), plugins.kdfs.values(), plugins.cipher_suites.values(),
        plugins.kex_suites.values(), plugins.authenticators.values(), BROUGHT_BY,
    )  # fmt: skip


def own_capabilities(plugins: Registrations) -> Capability:
    """What this node tells others that it can do."""
    hybrid = plugins.registry("kex_suites").get(HYBRID)
    usable = hybrid is not None and hybrid.unavailable is None
    return Capability.FRAGMENTS | (Capability.PQ if usable else Capability(0))
