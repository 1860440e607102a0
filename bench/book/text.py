"""Numbers as people read them."""

import math


def three(value: float) -> str:
    """Three digits."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    for size, unit in units:
        if abs(value) >= size:
            return f"{three(value / size)} {unit}"
    size, unit = units[-1]
    return f"{three(value / size)} {unit}"


def seconds(value: float) -> str:
    return scaled(value, ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")))


def size(value: float) -> str:
    return scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def rate(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{size(value)}/s"
    return scaled(value, ((1e12, f"T {unit}/s"), (1e9, f"G {unit}/s"), (1e6, f"M {unit}/s"), (1e3, f"k {unit}/s"),
                          (1, f"{unit}/s")))


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def with_error(interval) -> str:
    """Seconds and half the width of their interval."""
    return f"{seconds(interval.value)} ± {percent(interval.half_width / interval.value)}"
