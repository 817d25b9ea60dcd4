"""An example of a plugin for Ouro: the IPCP type `metered`."""
