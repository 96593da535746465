"""Numbers as the report prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "–"
ROUNDING = 1e-12
"""What is nearer to 0 is 0 but for rounding."""


def finite(value: object) -> float | None:
    """A finite float, or None for anything else (None, NaN, words)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def number(value: object, digits: int = 2) -> str:
    """Fixed decimals with a true minus sign; small numbers keep two significant digits; no number is "–".

    >>> number(-0.0312), number(1234.5), number(0.004), number(None)
    ('−0.03', '1,234', '0.004', '–')
    """
    x = finite(value)
    if x is None:
        return MISSING
    if abs(x) < ROUNDING:
        x = 0.0
    if abs(x) >= 1000:
        text = f"{x:,.0f}"
    elif 0 < abs(x) < 10**-digits:
        text = f"{x:.2g}" if abs(x) >= 1e-4 else f"{x:.0e}"
    else:
        text = f"{x:.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def percent(value: object) -> str:
    """A share: whole per cents, one decimal below ten.

    >>> percent(0.432), percent(0.0249), percent(0.0), percent(None)
    ('43%', '2.5%', '0%', '–')
    """
    x = finite(value)
    if x is None:
        return MISSING
    return f"{x:.1%}" if 0 < x < 0.0995 else f"{x:.0%}"


def short(value: object) -> str:
    """A threshold as it was set, without trailing zeros: 0.2, −0.223, 0."""
    x = finite(value)
    return MISSING if x is None else f"{x:.3g}".replace("-", "−")


def interval(low: object, high: object) -> str:
    """ "[0.14, 0.27]", or nothing where either end is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{number(low)}, {number(high)}]"


def duration(seconds: object) -> str:
    """ "48 s", "3 min 20 s", "2 h 05 min"."""
    x = finite(seconds)
    if x is None:
        return MISSING
    if x < 10:
        return f"{x:.1f} s"
    minutes, rest = divmod(round(x), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ticks(low: float, high: float, about: int = 4) -> tuple[float, ...]:
    """Round numbers (1, 2 or 5 times a power of ten) within an axis."""
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(k * step, 12) for k in range(first, last + 1))


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
