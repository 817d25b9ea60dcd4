"""Registers the policy."""

from ouro_core.contracts.directory import DirectoryPolicy
from ouro_core.hookspecs import hookimpl

OURO_API = (1, 0)


@hookimpl
def ouro_register_directory_policies() -> list[type[DirectoryPolicy]]:
    from .node import Dht  # imported when it is needed

    return [Dht]
