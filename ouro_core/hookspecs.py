"""Every hook of the kernel. A plugin implements any of them as functions marked `@hookimpl`; a docstring is the
contract.

A plugin is a module (or object) behind an entry point of the group `ouro`. It should say which version of these hooks
it was written for: `OURO_API = (1, 0)`. Another first number, or a greater second one, and it is not loaded.

The `ouro_register_*` hooks are called once, when somebody first needs that kind, and return lists of classes (or of
suites); each has a `name`, and configuration selects by that name. A name that is taken already is an error of the
plugin that came later. Observers and the veto are called on the control path of the IRM, in its loop: they must not
block. No hook is ever called for a packet.

A plugin may bring hooks of its own: an object behind the entry-point group `ouro.hookspecs`, loaded before the plugins.
"""

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from .contracts.crypto import Authenticator, CipherSuite, Digest, Kdf, KexSuite
    from .contracts.directory import DirectoryPolicy
    from .contracts.ipcp import Ipcp
    from .contracts.packets import PacketSystem
    from .model.flow import FlowInfo
    from .model.layer import IpcpInfo

__all__ = ["OURO_API", "hookimpl", "hookspec"]

OURO_API: Final = (1, 0)
"""Version of the hooks and contracts: (major, minor). Minor ones only add."""

hookspec: Final = pluggy.HookspecMarker("ouro")
hookimpl: Final = pluggy.HookimplMarker("ouro")

# ---------------------------------------------------------------- what there is to choose from


@hookspec
def ouro_register_ipcp_types() -> "list[type[Ipcp]]":
    """Types of IPCP: subclasses of `contracts.ipcp.Ipcp`. Asked for before the first IPCP is made, and by zygotes."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_directory_policies() -> "list[type[DirectoryPolicy]]":
    """Directories for unicast layers: subclasses of `contracts.directory.DirectoryPolicy`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_pool_allocators() -> "list[type[PacketSystem]]":
    """Packet systems: subclasses of `contracts.packets.PacketSystem`. The IRM takes the configured one, all others
    follow.
    """
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_kex_suites() -> "list[KexSuite]":
    """Key exchanges (DHE, KEM, hybrid), as instances: `contracts.crypto.KexSuite`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_cipher_suites() -> "list[CipherSuite]":
    """Ciphers for packets, as instances: `contracts.crypto.CipherSuite`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_kdfs() -> "list[Kdf]":
    """Key derivations, as instances: `contracts.crypto.Kdf`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_digests() -> "list[Digest]":
    """Digests for request hashes and signatures, as instances: `contracts.crypto.Digest`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_authenticators() -> "list[Authenticator]":
    """Kinds of signatures and certificates, as instances: `contracts.crypto.Authenticator`."""
    raise AssertionError("a specification is not called")


# ---------------------------------------------------------------- what happens


@hookspec
def ouro_flow_allocated(flow: "FlowInfo") -> None:
    """A flow was allocated; called once for each end on this host. An exception is logged."""


@hookspec
def ouro_flow_deallocated(flow: "FlowInfo") -> None:
    """A flow is gone, whoever ended it. An exception is logged."""


@hookspec
def ouro_ipcp_state_changed(ipcp: "IpcpInfo") -> None:
    """An IPCP entered another state; NULL: it is gone. An exception is logged."""


# ---------------------------------------------------------------- what may happen


@hookspec(firstresult=True)
def ouro_authorize_flow(name: str, uid: int, pid: int, incoming: bool) -> bool | None:
    """May this flow be? `uid` and `pid` are the local application's, `incoming` is True where it accepts.

    The first answer other than None counts: False refuses with EPERM. An exception is a refusal too, and logged. Called
    in the IRM's loop for every allocation: an answer that takes longer than 10 ms is logged with the plugin's name.
    """
