"""Bytes of the layer's protocols, and nothing else: OCEP, OEP, the PCI of data transfer, flow allocator messages."""
