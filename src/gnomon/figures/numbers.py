"""Numbers as a reader wants them: powers of ten, short counts, bytes, durations, shares. Pure functions."""

from __future__ import annotations

import math

PER_CENT = "\u00a0%"  # the number and its sign stay on one line
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(value: float, digits: int = 2) -> str:
    """12340000 as '1.2×10⁷'; an exact power of ten as '10⁷'; below 10 000 as a plain number."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if 0.01 <= abs(value) < 1e4:
        return f"{value:.{max(digits, 1)}g}" if abs(value) < 99.5 else f"{value:,.0f}"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = f"{value / 10**exponent:.{digits - 1}f}"
    if float(mantissa) >= 10:
        exponent, mantissa = exponent + 1, f"{1:.{digits - 1}f}"
    exponent_text = str(exponent).translate(SUPERSCRIPTS)
    mantissa = mantissa.removesuffix(".0")
    return f"10{exponent_text}" if mantissa == "1" else f"{mantissa}×10{exponent_text}"


def count(value: float) -> str:
    """1234567 as '1.2 M', 41984 as '42 k', 950 as '950'."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.1f} {letter}" if scaled < 9.95 else f"{scaled:.0f} {letter}"
    return f"{value:.0f}"


def byte_size(value: float) -> str:
    """1536000 as '1.5 MB' (powers of 1000)."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:.0f} {unit}"
    return f"{value:.0f} bytes"


def duration(seconds: float) -> str:
    """95 as '1 min 35 s', 7300 as '2 h 2 min'."""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    hours, rest = divmod(whole, 3600)
    return f"{hours} h" + (f" {rest // 60} min" if rest // 60 else "")


def percent(share: float) -> str:
    """0.314 as '31 %', 0.0042 as '0.4 %'."""
    value = share * 100
    return f"{value:.1f}{PER_CENT}" if abs(value) < 9.95 else f"{value:.0f}{PER_CENT}"


def weight(share: float) -> str:
    """A law's share of the forecast: as percent(), and never a bare zero."""
    return f"<0.1{PER_CENT}" if 0 < share < 0.0005 else percent(share)


def fraction(value: float) -> str:
    """A share of one, as a person says it: 1, 1/10, 1/1000; powers of ten below a millionth."""
    if value > 0 and 1e-6 <= value < 1:
        inverse = 1 / value
        return f"1/{inverse:.0f}" if inverse < 9999.5 else f"1/{inverse:,.0f}".replace(",", "\u2009")
    return power(value)
