"""The abstract classes that plugins implement. A docstring here is the contract; `ouro_core.testing` checks it."""
