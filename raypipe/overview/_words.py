"""Figures of a column as short texts."""

import math

import numpy as np

from raypipe.core.kinds import Kind
from raypipe.overview._columns import ColumnOverview
from raypipe.profiles import SHARES, Change, ColumnProfile, ListProfile, NumberProfile, TimeProfile, Value

DASH = "\u2013"
_LONG_FROM, _SEPARATED_FROM, _LARGE = 1e12, 10_000, 1e7
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_QUANTILES = {"1 %": 0.01, "5 %": 0.05, "25 %": 0.25, "Median": 0.5, "75 %": 0.75, "95 %": 0.95, "99 %": 0.99}


def number_of(value: float | None) -> str:
    """A value of a column: years without separators, large and tiny ones with an exponent."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == int(value) and abs(value) < _LONG_FROM:
        return f"{int(value):,}" if abs(value) >= _SEPARATED_FROM else str(int(value))
    is_long = _SEPARATED_FROM <= abs(value) < _LARGE
    return f"{value:,.0f}" if is_long else f"{value:.4g}"


def percent(share: float) -> str:
    """A share: 0 % only for none, 100 % only for all."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:  # 0.1 %
        return "< 0.1 %"
    return f"{min(100 * share, 99.9):.1f} %"


def signed_percent(change: float) -> str:
    """A change of a share in percentage points; empty for none."""
    return "" if abs(change) < 5e-5 else f"{100 * change:+.1f} pp"  # rounds to 0.0


def signed(value: float | None) -> str:
    """A change with its sign."""
    if value is None:
        return DASH
    return ("+∞" if value > 0 else "-∞") if math.isinf(value) else f"{value:+.2f}"


def psi_of(change: Change | None) -> str:
    """The stability index; a dash where there is none."""
    return DASH if change is None or change.psi is None else f"{change.psi:.3f}"


def bytes_of(num: int) -> str:
    """A size in binary units."""
    place = min(int(math.log(num, 1024)), len(_SIZES) - 1) if num else 0
    return f"{num / 1024**place:,.{1 if place else 0}f} {_SIZES[place]}"


def distinct_of(column: ColumnOverview) -> str:
    """How many values there are; estimates are marked."""
    if column.distinct is None:
        return DASH
    return f"{column.distinct:,}" if column.is_exact else f"≈ {float(f'{column.distinct:.3g}'):,.0f}"


def instant_of(text: str | None) -> str:
    """An instant or a day as it is read."""
    return DASH if text is None else text.replace("T", " ").removesuffix("Z").removesuffix(".000000").removesuffix(":00")


def value_of(value: Value) -> str:
    """A value of text or a boolean; nothing, blanks, and what changes the direction of writing are seen."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if text.strip() else f"“{text}”"


def bound_of(edge: float, kind: Kind) -> str:
    """An edge of a histogram: a number, a length, or for times a day."""
    if kind in ("date", "timestamp"):
        return str(np.datetime64(int(edge), "D"))
    return number_of(edge)


def range_of(profile: ColumnProfile | None) -> tuple[str, str, str]:
    """Lowest, mean and highest value; lengths for lists."""
    values = profile.values if profile is not None else None
    if isinstance(values, NumberProfile):
        return number_of(values.min), number_of(values.mean), number_of(values.max)
    if isinstance(values, TimeProfile):
        return instant_of(values.min), "", instant_of(values.max)
    if isinstance(values, ListProfile):
        return number_of(values.min_length), number_of(values.mean_length), number_of(values.max_length)
    return "", "", ""


def facts_of(column: ColumnOverview) -> dict[str, str]:
    """Everything about a column in words, by label."""
    facts = {"Nulls": f"{column.nulls:,} ({percent(column.null_share)})"}
    facts |= {} if column.distinct is None else {"Distinct": distinct_of(column)}
    values = column.profile.values if column.profile is not None else None
    if isinstance(values, NumberProfile):
        return facts | _facts_of_numbers(values)
    if isinstance(values, TimeProfile):
        return facts | {"First": instant_of(values.min), "Last": instant_of(values.max)}
    if isinstance(values, ListProfile):
        missing = f" ({values.missing_elements:,} missing)" if values.missing_elements else ""
        return facts | {
            "Shortest": number_of(values.min_length),
            "Mean length": number_of(values.mean_length),
            "Longest": number_of(values.max_length),
            "Elements": f"{values.elements:,}{missing}",
        }
    return facts


def _facts_of_numbers(values: NumberProfile) -> dict[str, str]:
    found = {"NaN": values.nan, "Infinite": values.infinite}
    facts = {label: f"{num:,}" for label, num in found.items() if num}
    facts |= {"Lowest": number_of(values.min)}
    return facts | {"Highest": number_of(values.max), "Mean": number_of(values.mean), "Deviation": number_of(values.std)}


def quantiles_of(column: ColumnOverview) -> dict[str, str]:
    """Quantiles of numbers by label; empty for other columns, and where there are no values."""
    values = column.profile.values if column.profile is not None else None
    if not isinstance(values, NumberProfile) or not values.quantiles:
        return {}
    at = dict(zip(SHARES, values.quantiles, strict=True))
    return {label: number_of(at[share]) for label, share in _QUANTILES.items()}
