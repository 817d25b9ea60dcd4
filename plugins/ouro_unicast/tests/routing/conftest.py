"""What tests of one member share."""

import pytest
from link_state_member import FAR, LEFT, ME, RIGHT, Member


@pytest.fixture
def member() -> Member:
    """With two neighbours, of which LEFT has another, FAR; at rest."""
    member = Member()
    member.connect(LEFT)
    member.connect(RIGHT)
    for a, b in ((LEFT, ME), (RIGHT, ME), (LEFT, FAR), (FAR, LEFT)):
        member.hear(a if a != FAR else LEFT, a, b)
    member.wait(5.0)
    member.routing.output()
    return member
