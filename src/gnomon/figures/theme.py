"""The two palettes, once, as values: paper, ink and one accent, and the CSS that makes them variables.

The accent is the low sun; it belongs to the one thing that matters on the page, the target and its outcome. Everything
else is paper, ink and a ramp of slate. tests/figures holds every text colour to a contrast of at least 4.5 and every
mark to 3 (WCAG 2.2, success criteria 1.4.3 and 1.4.11).
"""

from __future__ import annotations

from importlib.resources import files

LIGHT = {
    "paper": "#fbfaf6",
    "panel": "#f3f1ea",
    "ink": "#1d2530",
    "ink-soft": "#57606c",
    "rule": "#dedad0",
    "mark": "#34465c",
    "mark-faint": "#7f8b99",
    "band-outer": "#e3e6e8",
    "band-inner": "#ccd3d9",
    "accent": "#b0440c",
    "accent-soft": "#f6e2d2",
    "ramp-1": "#8593a3",
    "ramp-2": "#6d7d90",
    "ramp-3": "#56687d",
    "ramp-4": "#41536a",
    "ramp-5": "#2d3f57",
    "ramp-6": "#1a2c45",
}
DARK = {
    "paper": "#14181d",
    "panel": "#1c2128",
    "ink": "#ebe7de",
    "ink-soft": "#a5adb6",
    "rule": "#323a43",
    "mark": "#c3d0dd",
    "mark-faint": "#6f7d8c",
    "band-outer": "#242c35",
    "band-inner": "#36414d",
    "accent": "#f2a35c",
    "accent-soft": "#3d2a1a",
    "ramp-1": "#687686",
    "ramp-2": "#7d8c9d",
    "ramp-3": "#93a2b3",
    "ramp-4": "#a9b8c8",
    "ramp-5": "#c0cddb",
    "ramp-6": "#d8e3ee",
}
RAMP = 6


def ramp(index: int, of: int) -> str:
    """The ramp's class suffix for item `index` (from 0) of `of` items in order."""
    if of <= 1:
        return str(RAMP)
    return str(1 + round(index * (RAMP - 1) / (of - 1)))


def variables() -> str:
    """CSS: the palettes as variables, by prefers-color-scheme, or by data-theme on the root where a toggle sets it."""
    light = "".join(f"--{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--{name}:{value};" for name, value in DARK.items())
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f'@media (prefers-color-scheme:dark){{:root:not([data-theme="light"]){{color-scheme:dark;{dark}}}}}\n'
        f':root[data-theme="dark"]{{color-scheme:dark;{dark}}}\n'
    )


def stylesheet() -> str:
    """The variables and figures.css, what a page with figures needs."""
    return variables() + (files("gnomon.figures") / "figures.css").read_text()


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two '#rrggbb' colours, 1..21 (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
