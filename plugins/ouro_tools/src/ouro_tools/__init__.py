"""Programs that use the network: the prototype's tools, on the public API of Ouro only."""
