"""The classical cryptography of the core: what hashlib and `cryptography` bring, registered like any plugin's."""
