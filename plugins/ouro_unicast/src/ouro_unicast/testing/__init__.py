"""For authors of policies: contract kits, one a kind of policy, and `layer`, a whole layer in virtual time."""
