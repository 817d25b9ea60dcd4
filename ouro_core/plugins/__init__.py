"""The plugin host: finds, loads and lists plugins, and keeps what they registered (`host`); entry points as records
(`installed`); what each kind of registration takes (`kinds`)."""

from .host import PluginHost
from .installed import BUILTINS, HOSTS, PluginState, PluginStatus
from .kinds import KINDS

__all__ = ["BUILTINS", "HOSTS", "KINDS", "PluginHost", "PluginState", "PluginStatus"]
