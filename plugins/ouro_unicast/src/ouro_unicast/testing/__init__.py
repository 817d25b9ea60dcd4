"""For authors of policies: contract kits, one a kind of policy, and `layer`, a whole layer in virtual time."""

import sys

if (pytest := sys.modules.get("pytest")) is not None:  # a failure of a kit then shows the values
    pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("addresses", "congestion", "pff", "routing")))
