"""Medians, ratios, verdicts, and how numbers are shown."""

import pytest

from tests.bench.figures import Figure, Row, Samples, Target, at_least, at_least_ours, at_most, at_most_ours, shown


def row(ours: tuple[float, ...], prototype: tuple[float, ...], target: Target | None = None) -> Row:
    return Row("case", Figure("title", "unit", target), Samples(ours), Samples(prototype), 0.0)


def test_samples_are_summed_up_by_median_and_range() -> None:
    samples = Samples((3.0, 1.0, 10.0))
    assert (samples.n, samples.median, samples.low, samples.high) == (3, 3.0, 1.0, 10.0)


def test_the_ratio_is_that_of_medians() -> None:
    assert row((1.0, 6.0, 7.0), (2.0, 3.0)).ratio == 6.0 / 2.5


@pytest.mark.parametrize("prototype", [(), (0.0, 0.0)])
def test_there_is_no_ratio_to_nothing(prototype: tuple[float, ...]) -> None:
    assert row((1.0,), prototype, at_least(3)).ratio is None
    assert row((1.0,), prototype, at_least(3)).met is None


def test_a_side_without_samples_is_not_judged() -> None:
    assert row((), (1.0,), at_most_ours(10)).met is None


@pytest.mark.parametrize(
    ("target", "ours", "prototype", "met"),
    [
        (at_least(3), 3.0, 1.0, True),
        (at_least(3), 2.9, 1.0, False),
        (at_most(0.3), 0.3, 1.0, True),
        (at_most(0.3), 0.4, 1.0, False),
        (at_most_ours(10), 10.0, 1.0, True),
        (at_most_ours(10), 11.0, 100.0, False),
        (at_least_ours(2), 2.0, 9.0, True),
        (at_least_ours(2), 1.9, 0.1, False),
        (None, 1.0, 1.0, None),
    ],
)
def test_targets(target: Target | None, ours: float, prototype: float, met: bool | None) -> None:
    assert row((ours,), (prototype,), target).met is met


def test_a_target_for_our_own_figure_needs_no_prototype() -> None:
    assert row((0.0,), (), at_most_ours(0)).met is True


def test_targets_are_written_as_in_the_plan() -> None:
    assert [str(t) for t in (at_least(3), at_most(0.3), at_least_ours(2), at_most_ours(10))] == [
        "≥ 3×", "≤ 0.3×", "≥ 2", "≤ 10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (5_712_345, "5.71M"), (606_000, "606k"), (999.9, "1.00k"), (999.4, "999"), (163, "163"),
        (42.14, "42.1"), (1.0, "1.00"), (0.31, "0.310"), (0.0312, "0.0312"), (0.00012, "0.0001"), (-5, "-5.00"),
    ],
)  # fmt: skip
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
