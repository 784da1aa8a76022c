"""Numbers, intervals and tables as readers see them."""

import math

import pytest

from analysis.wording import fixed, number, reading, short, signed, table_lines, with_interval


@pytest.mark.parametrize(
    ("write", "value", "written"),
    [
        (number, -10102.4, "−10,102"),
        (number, 99.96, "100.0"),
        (number, 4.25, "4.2"),
        (number, math.nan, ""),
        (number, math.inf, ""),
        (short, -12.34, "−12.3"),
        (short, -1.234, "−1.23"),
        (short, -0.004, "0.00"),
        (short, math.nan, ""),
        (fixed(2), -0.004, "0.00"),
        (fixed(2), -0.006, "−0.01"),
        (fixed(3), 0.5, "0.500"),
        (signed(2), 0.126, "+0.13"),
        (signed(3), -0.0704, "−0.070"),
    ],
)
def test_numbers_are_written_alike_everywhere(write, value, written):
    assert write(value) == written


def test_an_interval_is_shown_where_there_is_one():
    assert with_interval(-10102, -13637, -6159) == "−10,102 [−13,637, −6,159]"
    assert with_interval(0.5, 0.25, 1, fixed(2)) == "0.50 [0.25, 1.00]"
    assert with_interval(1.5, math.nan, math.nan) == "1.5"
    assert with_interval(math.nan, math.nan, math.nan) == ""


def test_an_interval_is_read_by_where_zero_is():
    found = [reading(*bounds) for bounds in ((0.1, 2), (-2, -0.1), (-1, 1), (0, 1), (math.nan, math.nan))]
    assert found == ["higher", "lower", "no difference shown", "no difference shown", "too few seeds for an interval"]


def test_a_table_has_a_column_for_each_title():
    assert table_lines(["a", "b"], [["1", ""], ["2", "x"]]) == ["| a | b |", "|---|---|", "| 1 |  |", "| 2 | x |"]
    assert table_lines(["a"], []) == ["| a |", "|---|"]
