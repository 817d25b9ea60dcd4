"""`python -m ouro_core.cli` is `ouro`."""

from . import main

main()
