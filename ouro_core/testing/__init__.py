"""Contract kits and other helpers for the tests of Ouro and of its plugins. Needs the extra `testing`."""
