"""The plots of the report; each returns SVG, or nothing where its benchmarks were not measured."""

import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from . import tables
from .drawing import GRID, INK, SERIES, figure, svg
from .estimate import log_log_slope
from .results import Book, Result

MOST_LINES = 42  # of a plot with a line a benchmark


def own(book: Book, family: str) -> list[Result]:
    return [result for result in book.family(family) if not result.machine]


def short(name: str) -> str:
    return "/".join(name.split("/")[1:])


def bars(title: str, rows: list[tuple[str, float, float, float]], label: str, log: bool = False,
         limit: float | None = None) -> str:
    """rows: name, value, ends of the interval."""
    drawn, axes = figure(height=0.9 + 0.23 * len(rows))
    axis = axes[0][0]
    names, values, low, high = zip(*rows)
    places = np.arange(len(rows))
    errors = [np.subtract(values, low), np.subtract(high, values)]
    axis.barh(places, values, color=SERIES[0], height=0.62)
    axis.errorbar(values, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=1)
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(label)
    if log:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}" if max(values) < 10 * min(values) else NullFormatter())
    if limit is not None:
        axis.axvline(limit, color=SERIES[1], linewidth=1.2)
    return svg(drawn, title)


def first_reports(book: Book) -> str:
    rows = []
    for line, result, _ in tables.first_rows(book):
        median = result.estimate.median
        rows.append((line, 1e3 * median.value, 1e3 * median.low, 1e3 * median.high))
    return bars("Time of one product", rows, "milliseconds, logarithmic", log=True) if rows else ""


def shares(book: Book, family: str, title: str, keep=lambda result: True) -> str:
    rows = [(short(result.name), 100 * result.share.value, 100 * result.share.low, 100 * result.share.high)
            for result in own(book, family) if result.share and keep(result)][:MOST_LINES]
    return bars(title, rows, "percent of what the machine allows", limit=100) if rows else ""


def bandwidth(book: Book) -> str:
    """What the memory gave, look by look."""
    reads = [result for result in own(book, "limit") if result.name.startswith("limit/read")]
    if not reads:
        return ""
    drawn, axes = figure(height=2.8)
    axis = axes[0][0]
    for colour, result in zip(SERIES, reads):
        rates = [result.benchmark.amount / sample.each / 1e9 for sample in result.samples]
        axis.plot(rates, ".", markersize=3.5, color=colour, label=threads_text(result.label("threads")))
    axis.set_xlabel("looks, in the order of the run")
    axis.set_ylabel("GB/s read")
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower left", ncols=2)
    return svg(drawn, "Read bandwidth during the run")


def threads_text(count: str) -> str:
    return f"{count} thread" if count == "1" else f"{count} threads"


def distribution(book: Book, family: str) -> str:
    """Every sample, relative to its benchmark's median."""
    results = own(book, family)[:MOST_LINES]
    if not results:
        return ""
    drawn, axes = figure(height=0.9 + 0.21 * len(results))
    axis = axes[0][0]
    places = np.arange(len(results))
    values = [np.array([sample.each for sample in result.samples]) / result.estimate.median.value
              for result in results]
    axis.boxplot(values, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
                 boxprops={"color": INK}, medianprops={"color": SERIES[1]}, whiskerprops={"color": INK},
                 capprops={"color": INK})
    for place, each in zip(places, values):
        axis.plot(each, np.full(len(each), place) + np.linspace(-0.16, 0.16, len(each)), ".", color=SERIES[0],
                  markersize=2.6)
    axis.set_yticks(places, [short(result.name) for result in results])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(*np.clip([min(map(np.min, values)) - 0.02, max(map(np.max, values)) + 0.02], 0.4, 2.0))
    axis.set_xlabel("time of a sample over the median")
    return svg(drawn, f"Samples: {family}")


def regressions(book: Book, count: int = 6) -> str:
    """Total time over iterations, with the line through the origin."""
    results = [result for result in book.results if result.estimate.slope and not result.machine
               and result.benchmark.family in ("product", "primes", "scaling", "decompression", "coding")]
    results = sorted(results, key=lambda result: -result.estimate.samples)[:: max(1, len(results) // count)][:count]
    if not results:
        return ""
    rows = -(-len(results) // 2)
    drawn, axes = figure(height=2.2 * rows, columns=2, rows=rows)
    for axis, result in zip(axes.ravel(), results):
        draw_line(axis, result)
    for axis in axes.ravel()[len(results):]:
        axis.set_visible(False)
    return svg(drawn, "Time over iterations")


def draw_line(axis, result: Result) -> None:
    iterations = np.array([sample.iterations for sample in result.samples])
    seconds = 1e3 * np.array([sample.seconds for sample in result.samples])
    slope, ends = result.estimate.slope, np.array([0, iterations.max()])
    axis.fill_between(ends, 1e3 * slope.low * ends, 1e3 * slope.high * ends, color=SERIES[1], alpha=0.25, linewidth=0)
    axis.plot(ends, 1e3 * slope.value * ends, color=SERIES[1])
    axis.plot(iterations, seconds, ".", color=SERIES[0], markersize=4)
    axis.set_title(short(result.name), fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_xlabel("iterations", fontsize=8)
    axis.set_ylabel("ms", fontsize=8)


def scaling(book: Book) -> str:
    points = tables.scaling_points(book)
    if not points:
        return ""
    drawn, axes = figure(height=4)
    axis = axes[0][0]
    for colour, (codec, results) in zip(SERIES, points.items()):
        nonzeros = np.array([result.benchmark.amount for result in results])
        medians = [result.estimate.median for result in results]
        times = np.array([median.value for median in medians])
        errors = [[m.value - m.low for m in medians], [m.high - m.value for m in medians]]
        slope = log_log_slope(nonzeros, times)
        label = f"{codec}: slope {slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]"
        axis.errorbar(nonzeros, times, yerr=errors, fmt="o-", markersize=4, color=colour, label=label)
        bound = [np.median([sample.bound for sample in result.samples]) for result in results]
        axis.plot(nonzeros, bound, "--", color=colour, linewidth=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("non-zeros")
    axis.set_ylabel("seconds (dashed: what the limits allow)")
    axis.legend(loc="upper left")
    return svg(drawn, "Time over non-zeros")


def roofline(book: Book) -> str:
    """Products of the chosen backend: operations a second over operations a byte of weights."""
    backend, threads = book.machine.get("backend"), str(book.machine.get("threads"))
    read = book.find(f"limit/read/threads:{threads}")
    peak = book.find(f"limit/int8/{backend}/threads:{threads}")
    chosen = [result for result in own(book, "product") if result.label("backend") == backend
              and result.label("threads") == threads and result.label("from") == "memory"]
    if not (read and peak and chosen):
        return ""
    drawn, axes = figure(height=4.2)
    axis = axes[0][0]
    draw_roof(axis, read, peak)
    codecs = sorted({result.label("codec") for result in chosen})
    for colour, codec in zip(SERIES, codecs):
        mine = [result for result in chosen if result.label("codec") == codec]
        operations = np.array([2.0 * int(r.label("rows")) * int(r.label("cols")) * int(r.label("batch")) for r in mine])
        x = operations / np.array([float(result.label("bytes")) for result in mine])
        axis.plot(x, operations / np.array([result.estimate.median.value for result in mine]) / 1e9, "o",
                  markersize=4.5, color=colour, label=codec)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("operations a byte of compressed weights")
    axis.set_ylabel("GOPS")
    axis.legend(loc="lower right", ncols=2)
    return svg(drawn, "Roofline")


def draw_roof(axis, read: Result, peak: Result) -> None:
    """Medians, and shaded what was seen of the bandwidth."""
    x = np.logspace(-0.7, 3.2, 100)
    rates = [read.benchmark.amount / sample.each for sample in read.samples]
    low, middle, high = (np.minimum(x * rate, peak.rate) / 1e9 for rate in
                         (np.min(rates), np.median(rates), np.max(rates)))
    axis.fill_between(x, low, high, color=GRID, alpha=0.5, linewidth=0)
    axis.plot(x, middle, color=INK, linewidth=1.2)
    axis.annotate(f"{np.median(rates) / 1e9:.0f} GB/s", (x[12], middle[12]), xytext=(-4, 8),
                  textcoords="offset points", ha="right")
    axis.annotate(f"{peak.rate / 1e9:.0f} GOPS int8", (x[-1], middle[-1]), xytext=(0, 5), textcoords="offset points",
                  ha="right")


def comparison(book: Book) -> str:
    compared = sorted((result for result in book.results if result.comparison),
                      key=lambda result: result.comparison.ratio)
    if not compared:
        return ""
    shown = compared if len(compared) <= MOST_LINES else compared[: MOST_LINES // 3] + compared[-2 * MOST_LINES // 3 :]
    drawn, axes = figure(height=1 + 0.17 * len(shown))
    axis = axes[0][0]
    colours = {"improved": SERIES[2], "regressed": SERIES[4], "no change": SERIES[5]}
    for place, result in enumerate(shown):
        change = result.comparison
        axis.plot([change.low, change.high], [place, place], color=colours[change.verdict], linewidth=1.4)
        axis.plot([change.ratio], [place], "o", color=colours[change.verdict], markersize=3.2)
    axis.axvline(1, color=INK, linewidth=0.8)
    axis.set_yticks(range(len(shown)), [result.name for result in shown], fontsize=7)
    axis.set_ylim(-1, len(shown))
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("time, new over old, with its 95 % interval")
    left_out = len(compared) - len(shown)
    return svg(drawn, f"Time against the baseline; {left_out} between these left out" if left_out
               else "Time against the baseline")


def over_commits(runs: list[dict], names: list[str]) -> str:
    """Share of the limit of chosen benchmarks, run by run on this machine."""
    drawn, axes = figure(height=3.6 + 0.17 * len(names))
    axis = axes[0][0]
    places = np.arange(len(runs))
    for colour, name in zip(SERIES, names):
        values = [run["results"].get(name, {}).get("share") for run in runs]
        axis.plot(places, [np.nan if value is None else 100 * value for value in values], "o-", markersize=3.5,
                  color=colour, label=name)
    first = [i for i, run in enumerate(runs) if i == 0 or run["commit"] != runs[i - 1]["commit"]]
    axis.set_xticks(first, [f"{runs[i]['commit']}, {runs[i]['date'][5:10]}" for i in first], rotation=35, ha="right",
                    fontsize=8)
    axis.set_xticks(places, minor=True)
    axis.set_ylabel("percent of the limit")
    axis.set_ylim(bottom=0)
    drawn.legend(fontsize=8, loc="outside upper left")
    return svg(drawn, "Share of the limit, run by run; a commit's name stands at its first run")


def models(book: Book) -> str:
    rows = []
    for result in own(book, "model"):
        median = result.estimate.median
        amount = result.benchmark.amount
        rows.append((short(result.name), amount / median.value, amount / median.high, amount / median.low))
    return bars("Tokens a second", rows, "tokens a second, logarithmic", log=True) if rows else ""


def headline_names(book: Book, count: int = 6) -> list[str]:
    """Batch 1 of every codec, then tokens of models: what is followed over commits."""
    names = [result.name for _, result, _ in tables.first_rows(book) if result.share and not result.machine
             and result.benchmark.family == "product" and result.label("backend") not in tables.PEERS]
    names += [result.name for result in own(book, "model") if result.share]
    return names[:count] or [result.name for result in book.results if result.share and not result.machine][:count]


