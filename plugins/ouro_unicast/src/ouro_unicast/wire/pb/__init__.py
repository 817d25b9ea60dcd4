"""Generated from members.proto: `make proto`."""
