"""Hosts of Ouro and of the C prototype in one layer."""
