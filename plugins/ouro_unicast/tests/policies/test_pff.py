"""The prototype's forwarding functions (unicast.md 9), and the component that fills the forwarder's table."""

import pytest
from ouro_unicast.contracts import PffPolicy, RoutingTable
from ouro_unicast.pff import AlternatePff, ForwardingFunction, MultipathPff, SimplePff

from ouro_core.contracts.programs import Group, Mode


def test_simple_takes_the_first() -> None:
    assert SimplePff().group((7, 8, 9)) == Group((7,), Mode.FIRST)


def test_alternate_takes_the_first_that_works() -> None:
    assert AlternatePff().group((7, 8, 9)) == Group((7, 8, 9), Mode.FIRST_UP)


def test_multipath_takes_all_in_turn() -> None:
    assert MultipathPff().group((7, 8, 9)) == Group((7, 8, 9), Mode.ROTATE)


@pytest.fixture
def function() -> ForwardingFunction:
    """Ports 1, 2, 3 to neighbours 100, 200, 300, and a table with all of them for 900."""
    function = ForwardingFunction(AlternatePff())
    for port in (1, 2, 3):
        function.neighbour_up(port, port * 100)
    function.set_table(RoutingTable({900: (100, 200, 300), 100: (100,)}))
    function.output()
    return function


def changed(function: ForwardingFunction) -> dict[int, dict[int, tuple[int, ...]]]:
    return {cube: {d: g.ports for d, g in groups.items()} for cube, groups in function.output()}


def on_all_cubes(table: dict[int, tuple[int, ...]]) -> dict[int, dict[int, tuple[int, ...]]]:
    return dict.fromkeys(range(3), table)


def test_all_cubes_get_the_table(function: ForwardingFunction) -> None:
    for cube in range(3):
        assert function.table(cube) == {900: Group((1, 2, 3), Mode.FIRST_UP), 100: Group((1,), Mode.FIRST_UP)}


def test_a_table_for_one_cube(function: ForwardingFunction) -> None:
    function.set_table(RoutingTable({700: (300,)}, cube=1))
    assert changed(function) == {1: {700: (3,)}}
    assert function.hops(1) == {700: (300,)}
    assert function.reached() == {100, 700, 900}
    function.neighbour_down(1)
    function.output()
    assert function.reached() == {700, 900}


@pytest.mark.parametrize("cube", [-1, 3])
def test_a_cube_that_the_layer_does_not_have(function: ForwardingFunction, cube: int) -> None:
    function.set_table(RoutingTable({900: (300,)}, cube=cube))
    assert changed(function) == {}


def test_a_table_that_changes_nothing_is_not_installed_again(function: ForwardingFunction) -> None:
    function.set_table(RoutingTable({100: (100,), 900: (100, 200, 300)}))
    assert changed(function) == {}


def test_a_primary_that_fails_is_replaced_at_once_and_comes_back(function: ForwardingFunction) -> None:
    function.neighbour_down(1)
    assert changed(function) == on_all_cubes({900: (2, 3)})
    function.neighbour_up(1, 100)
    assert changed(function) == on_all_cubes({900: (1, 2, 3), 100: (1,)})


def test_hops_without_a_port_are_passed_over(function: ForwardingFunction) -> None:
    function.set_table(RoutingTable({900: (400, 200), 800: (400,)}))
    assert changed(function)[0] == {900: (2,)}
    function.neighbour_up(4, 400)
    assert changed(function)[0] == {900: (4, 2), 800: (4,)}


def test_duplicates_of_a_hop_are_no_harm(function: ForwardingFunction) -> None:
    """LFA's lists name the primary twice."""
    function.set_table(RoutingTable({900: (200, 300, 200)}))
    assert changed(function)[0] == {900: (2, 3)}


def test_the_last_port_is_gone(function: ForwardingFunction) -> None:
    for port in (1, 2, 3):
        function.neighbour_down(port)
    assert changed(function) == on_all_cubes({})


def test_an_unknown_port_goes_down(function: ForwardingFunction) -> None:
    function.neighbour_down(99)
    assert changed(function) == {}


def test_a_port_that_leads_elsewhere_now(function: ForwardingFunction) -> None:
    function.neighbour_up(1, 200)
    assert changed(function)[0] == {900: (2, 3)}


def test_a_port_is_no_newer_for_having_been_down() -> None:
    """The older of two to one neighbour may be what it gave up without a word; both go down and up with the link."""
    function = ForwardingFunction(SimplePff(), cubes=1)
    for port in (1, 2):
        function.neighbour_up(port, 100)
    function.set_table(RoutingTable({9: (100,)}))
    assert changed(function) == {0: {9: (2,)}}
    for port in (1, 2):
        function.neighbour_down(port)
    assert changed(function) == {0: {}}
    for port in (2, 1):
        function.neighbour_up(port, 100)
    assert changed(function) == {0: {9: (2,)}}


@pytest.mark.parametrize("policy", [SimplePff(), MultipathPff()])
def test_with_any_policy_what_is_down_is_out(policy: PffPolicy) -> None:
    function = ForwardingFunction(policy, cubes=1)
    function.neighbour_up(1, 100)
    function.neighbour_up(2, 200)
    function.set_table(RoutingTable({9: (100, 200)}))
    function.neighbour_down(1)
    assert changed(function) == {0: {9: (2,)}}


def test_multipath_does_not_spread_over_what_a_neighbour_may_have_given_up() -> None:
    function = ForwardingFunction(MultipathPff(), cubes=1)
    for port in (1, 2, 3):
        function.neighbour_up(port, 100 if port < 3 else 300)
    function.set_table(RoutingTable({9: (100, 300)}))
    assert changed(function) == {0: {9: (2, 3)}}
    function.neighbour_down(2)
    assert changed(function) == {0: {9: (1, 3)}}
