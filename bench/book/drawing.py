"""Matplotlib figures as SVG that takes its colours from the page: light, dark, and on paper."""

import io
import re

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

INK, GRID, PAPER = "#101112", "#c3c4c5", "#fdfdfe"
SERIES = ("#1f6fb1", "#d1601e", "#3a8f4d", "#8a5ab5", "#b03a48", "#6b6f76", "#0f8f8f", "#a8841a")
STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "lines.linewidth": 1.6,
}


plt.rcParams.update(STYLE)


def figure(width: float = 6.4, height: float = 3.6, columns: int = 1, rows: int = 1):
    """A figure and its axes, in inches; narrow enough that its text can be read on a phone."""
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)


def svg(drawn, title: str) -> str:
    """The figure as elements of the page: its caption and the drawing."""
    with plt.rc_context({"svg.hashsalt": title}):  # names inside the drawing differ from figure to figure
        out = io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(drawn)
    text = out.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for name, colour in (("ink", INK), ("grid", GRID), ("paper", PAPER), *((f"c{i}", c) for i, c in enumerate(SERIES))):
        text = text.replace(colour, f"var(--{name})")
    return f"<figcaption>{title}</figcaption>" + text.replace(">", f"><title>{title}</title>", 1)
