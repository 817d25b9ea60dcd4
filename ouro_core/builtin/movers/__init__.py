"""Movers in plain Python: pump, forwarder and relay over the ends and event sets of any packet system."""

from .forwarder import PythonForwarder
from .pump import PythonPump
from .relay import PythonRelay

__all__ = ["PythonForwarder", "PythonPump", "PythonRelay"]
