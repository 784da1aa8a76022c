"""How tables for reading write numbers, their intervals, and themselves: one minus sign and one form of each."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Write = Callable[[float], str]
"""How a number is written."""

COVERS_A_MEAN = "a mean in about 90% of cases with 10 seeds, 83% with 5 and 75% with 3"
COVERS_A_DIFFERENCE = "a difference of two means in about 92% of cases with 10 seeds each, 87% with 5 and 81% with 3"
"""What 95% intervals of bootstraps cover in truth, were returns normal (tests/analysis/test_statistics.py)."""


def number(value: float) -> str:
    """Write a cumulative reward, or nothing where there is none."""
    return f"{value:,.{0 if abs(value) >= 100 else 1}f}".replace("-", "−") if math.isfinite(value) else ""


def short(value: float) -> str:
    """Write a return or a share, or nothing where there is none."""
    return number(value) if abs(value) >= 10 or not math.isfinite(value) else fixed(2)(value)


def fixed(decimals: int) -> Write:
    """Return a writer of numbers with so many decimals; what is rounded to zero has no sign."""
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def p_value(value: float) -> str:
    """Format a p-value: "p = 0.014", "p < 0.001"."""
    return f"p = {value:.3f}" if value >= 0.0005 else "p < 0.001"


def signed(decimals: int) -> Write:
    """Return a writer of differences with so many decimals, always with their sign."""
    return lambda value: f"{value:+.{decimals}f}".replace("-", "−")


def with_interval(value: float, low: float, high: float, write: Write = number) -> str:
    """Write a number and, where there is one, its interval; nothing where there is no number."""
    bounds = "" if math.isnan(low) else f" [{write(low)}, {write(high)}]"
    return "" if math.isnan(value) else write(value) + bounds


def estimate(row: Mapping[str, Any], name: str, write: Write = number) -> str:
    """Write the number `name` of a row with its interval, `name_low` to `name_high`; nothing where there is none."""
    return with_interval(*(row.get(key, math.nan) for key in (name, f"{name}_low", f"{name}_high")), write)


def reading(low: float, high: float) -> str:
    """Say what the 95% interval of a difference shows, in a word or a few."""
    if not math.isfinite(low):
        return "too few seeds for an interval"
    if low > 0:
        return "higher"
    return "lower" if high < 0 else "no difference shown"


def flowed(text: str) -> str:
    """Return prose with every paragraph's lines filled: what was put into it has changed their lengths."""
    fill = textwrap.TextWrapper(116, break_long_words=False, break_on_hyphens=False).fill
    return "\n\n".join(fill(paragraph) for paragraph in text.split("\n\n"))


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table: the titles of its columns, and its rows of cells."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
