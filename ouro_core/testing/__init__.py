"""Contract kits and other helpers for the tests of Ouro and of its plugins. Needs the extra `testing`."""

import sys

if (pytest := sys.modules.get("pytest")) is not None:  # a failure of a kit then shows the values
    pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("directory", "ipcp", "shim")))
