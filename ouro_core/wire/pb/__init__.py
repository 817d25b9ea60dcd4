"""Generated from the .proto files beside it: `make proto`. A test compares them with what the compiler makes."""
