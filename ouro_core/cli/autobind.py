"""Binding an IPCP to its own name and to its layer's, by which other members reach it."""

import contextlib

from ..model.errors import Exists, OuroError
from ..model.irm_requests import BindIpcp, UnbindIpcp
from ..model.layer import IpcpInfo
from .keywords import Refused
from .session import Session

__all__ = ["bind_names", "unbind_names"]


def bind_names(session: Session, ipcp: IpcpInfo, layer: str) -> None:
    """Bind an IPCP to its own name and to its layer's, unless it is. Refused, with nothing bound."""
    for name in dict.fromkeys((ipcp.name, layer)):
        try:
            session.call(BindIpcp(ipcp.id, name))
        except Exists:
            pass
        except OuroError as e:
            unbind_names(session, ipcp, layer)
            raise Refused(f"Failed to bind {ipcp.pid} to {name}.", why=str(e)) from None


def unbind_names(session: Session, ipcp: IpcpInfo, layer: str) -> None:
    """Undo `bind_names`; called after an error, which is the one to report."""
    for name in dict.fromkeys((ipcp.name, layer)):
        with contextlib.suppress(OuroError):
            session.call(UnbindIpcp(ipcp.id, name))
