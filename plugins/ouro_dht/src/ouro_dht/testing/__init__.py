"""Layers in virtual time: members of this DHT, and of an emulation of the prototype's, with faults."""
