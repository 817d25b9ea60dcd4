"""Values that every floor shares: errors, QoS, names and hashes, flows, layers, configuration.

Nothing here does I/O, knows a clock or imports another part of Ouro.
"""
