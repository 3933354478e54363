"""Small bars."""

from gateway.terminal.sparkline import sparkline


def test_the_largest_value_is_a_full_bar_and_nothing_is_blank() -> None:
    assert sparkline([0.0, 3.5, None, 7.0], 4) == "▁▅ █"


def test_now_is_at_the_right_end_and_what_does_not_fit_is_left_out() -> None:
    assert sparkline([1.0], 3) == "  █"
    assert sparkline([9.0, 1.0, 1.0], 2) == "██"


def test_zeros_are_low_bars_and_no_values_are_no_bars() -> None:
    assert sparkline([0.0, 0.0], 3) == " ▁▁"
    assert sparkline([], 2) == "  "
