"""What applications use: flows in synchronous code and in asyncio, sets of flows, the IRM, and a whole node in one
process. `ouro_core` re-exports it."""
