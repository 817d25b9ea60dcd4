"""The directory policy `dht`: Kademlia for unicast layers (spec: dht.md)."""
