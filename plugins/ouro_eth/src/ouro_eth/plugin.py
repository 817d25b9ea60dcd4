"""Registers the types `eth-dix` and `eth-llc`."""

from ouro_core.contracts.ipcp import Ipcp
from ouro_core.hookspecs import hookimpl

from .ipcp import EthDixIpcp, EthLlcIpcp

OURO_API = (1, 0)


@hookimpl
def ouro_register_ipcp_types() -> list[type[Ipcp]]:
    return [EthDixIpcp, EthLlcIpcp]
