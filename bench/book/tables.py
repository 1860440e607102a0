"""The tables of the report, from the results; report.py says where each stands."""

from collections import Counter
from dataclasses import dataclass, replace

from . import text
from .estimate import log_log_slope
from .results import Book, Result

PEERS = ("cuBLAS", "cuSPARSE")
PRODUCTS = 40  # of 5120 x 5120: what the first reports counted for a token


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    folded: bool = False  # closed until it is asked for
    is_facts: bool = False  # long texts, which may be broken


def share(result: Result) -> str:
    return text.percent(result.share.value) if result.share else ""


def machine(book: Book) -> Table:
    """A column a machine: this one, then those whose rows are included."""
    everyone = [{**book.facts(), "name": "this machine"}, *book.machines]
    lines = [("processor", lambda facts: facts.get("cpu", "")), ("used", lambda facts: facts.get("device", "")),
             ("memory", lambda facts: text.size(facts.get("memory_bytes", 0))),
             ("commit", lambda facts: facts["commit"]), ("date", lambda facts: facts["date"]),
             ("measured in", lambda facts: f"{facts['seconds']:.0f} s"), ("command", lambda facts: facts["command"])]
    names = [facts["name"] for facts in everyone] if book.machines else [""]
    return Table("", ["", *names], [[name, *(fact(facts) for facts in everyone)] for name, fact in lines],
                 is_facts=True)


def limits(book: Book) -> Table:
    rows = []
    for result in book.family("limit"):
        each = [result.benchmark.amount / sample.each for sample in result.samples]
        unit = result.benchmark.unit
        rows.append([result.name.removeprefix("limit/"), text.rate(result.rate, unit), text.rate(min(each), unit),
                     text.rate(max(each), unit), str(len(each)), result.machine])
    return Table("What the machine can do", ["limit", "median", "lowest", "highest", "looks", "measured on"], rows,
                 "Measured again and again between the samples. Shares in this report compare each sample with what "
                 "was measured just before it.")


# ---- the first reports

def first_rows(book: Book) -> list[tuple[str, Result, str]]:
    """Line of the table, result, time that the first reports gave."""
    found = []
    for result in [*book.family("python"), *book.family("first_design"), *book.family("product")]:
        if result.benchmark.family == "python":
            kind = result.name.split("/")[1]
            line = {"loops": "Python, plain loops", "numpy": "Python, NumPy", "scipy_csr": "Python, SciPy CSR"}[kind]
            found.append((line, result, "234 ms" if kind == "loops" else ""))
        elif result.benchmark.family == "first_design":
            found.append(("first design, CPU, one thread", result, "13 ms"))
        elif is_headline(book, result):
            device = result.label("backend")
            who = "" if device in PEERS else "upg "
            found.append((f"{who}{result.label('codec')}, {device}", result, "4.15 ms" if device == "cuda" else ""))
    return found


def is_headline(book: Book, result: Result) -> bool:
    """A square product with one vector, from memory, on the backend that upg chooses or on a GPU."""
    if not (result.label("rows") == result.label("cols") and result.label("batch") == "1"
            and result.label("from") == "memory"):
        return False
    if result.label("backend") in ("cuda", *PEERS):
        return True
    machine = book.facts_of(result)
    return (result.label("backend") == machine.get("backend")
            and result.label("threads") == str(machine.get("threads")))


def first_reports(book: Book) -> Table:
    lines = first_rows(book)
    python = next((result.estimate.median.value for line, result, _ in lines if line == "Python, plain loops"), None)
    rows = []
    for line, result, reported in lines:
        each = result.estimate.median.value
        faster = f"{text.three(python / each)} ×" if python else ""
        rows.append([line, text.with_error(result.estimate.median), text.seconds(PRODUCTS * each),
                     text.three(1 / (PRODUCTS * each)), faster, share(result), reported, result.machine])
    side = lines[0][1].name.split("/")[2] if lines and lines[0][1].benchmark.family == "python" else "5120x5120"
    return Table(f"One product of {side.replace('x', ' × ')}", ["", "time", "40 of them", "tokens/s of 40", "speed-up",
                 "share of the limit", "first reports", "measured on"], rows,
                 "MdCSR and sparse matrices are half zeros, as the first reports' were; all others are dense. "
                 "A token of a real model needs more than 40 such products: its speed is under Whole models.")


def first_claims(book: Book) -> Table:
    rows = []
    for result in book.family("decompression"):
        if result.label("to") == "memory" and result.label("threads") == str(book.facts_of(result).get("threads")):
            rows.append([f"decompress 5120 × 5120, {result.label('codec')}", "16.3 ms",
                         text.with_error(result.estimate.median), result.machine])
    for result in book.family("primes"):
        rows.append([f"prime look-ups a second, {result.name.split('/')[1]}", "18 M",
                     text.rate(result.rate, "look-ups"), result.machine])
    for result in book.family("model"):
        if result.label("test").startswith("tg") and "batch" not in result.benchmark.labels:
            rows.append([f"tokens a second, {result.label('model')}", "55 hoped for", text.three(result.rate),
                         result.machine])
    return Table("Other figures of the first reports", ["", "first reports", "here", "measured on"], rows)


# ---- the five benchmarks

def starts(book: Book) -> Table:
    rows = [[result.label("model"), text.size(float(result.label("file_bytes"))), result.name.split("/")[2],
             result.label("cache"), text.with_error(result.estimate.median), share(result), result.machine]
            for result in book.family("start")]
    return Table("", ["file", "size", "until", "page cache", "time", "share of the limit", "measured on"],
                 sorted(rows, key=lambda row: row[:4]),
                 "ready: opened, mapped, checked, cache allocated. first_token: up to the first token after a prompt "
                 "of one; its limit is reading the weights, from memory or, cold, from the disk. Cold: the file is "
                 "dropped from this system's page cache; what a virtual machine's host keeps, it keeps.")


def decompression(book: Book) -> Table:
    rows = [[result.label("codec"), result.label("threads"), result.label("to"),
             text.with_error(result.estimate.median), text.rate(result.rate, "weights"), share(result), result.machine]
            for result in book.family("decompression")]
    return Table("", ["codec", "threads", "into", "time", "rate", "share of the limit", "measured on"], rows,
                 "To float32. The limit is filling the same memory with a constant; into the caches, the same 32 rows "
                 "are written again and again, and the limit is decoding itself.")


def products(book: Book) -> list[Table]:
    """A table a shape: batches side by side."""
    shapes: dict[str, dict[tuple, dict[str, Result]]] = {}
    for result in book.family("product"):
        line = (result.label("codec"), result.label("backend"), result.label("threads"), result.label("from"),
                result.machine)
        shapes.setdefault(result.name.split("/")[1], {}).setdefault(line, {})[result.label("batch")] = result
    return [product_table(shape, lines) for shape, lines in shapes.items()]


def time_and_share(result: Result) -> str:
    time = text.seconds(result.estimate.median.value)
    return f"{time}, {share(result)}" if result.share else time


def product_table(shape: str, lines: dict[tuple, dict[str, Result]]) -> Table:
    batches = sorted({batch for line in lines.values() for batch in line}, key=int)
    rows = []
    for line, results in lines.items():
        cells = [time_and_share(results[batch]) if batch in results else "" for batch in batches]
        one = results.get("1")
        speed = text.size(float(one.label("bytes")) / one.estimate.median.value) + "/s" if one else ""
        rows.append([*line[:4], *cells, speed, line[4]])
    return Table(shape.replace("x", " × "), ["codec", "backend", "threads", "from", *(f"batch {b}" for b in batches),
                 "compressed bytes", "measured on"], rows,
                 "Time, and share of the limit: reading the compressed bytes, or the processor's int8 peak where that "
                 "takes longer. Preparing the inputs (rotation, quantisation) is part of the time.")


def scaling_points(book: Book) -> dict[str, list[Result]]:
    """By codec, ascending; all threads."""
    found: dict[str, list[Result]] = {}
    for result in book.family("scaling"):
        if not result.machine and len(result.name.split("/")) == 3:
            found.setdefault(result.label("codec"), []).append(result)
    return {codec: sorted(rows, key=lambda row: row.benchmark.amount) for codec, rows in found.items()}


def slopes(book: Book) -> Table:
    """The claim is O(non-zeros): a slope of one."""
    rows = []
    for codec, results in scaling_points(book).items():
        if len(results) < 2:
            continue
        for what, chosen in (("all sizes", results), ("from 2048 × 2048", [r for r in results
                                                                            if int(r.label("rows")) >= 2048])):
            if len(chosen) < 3:
                continue
            slope = log_log_slope([r.benchmark.amount for r in chosen], [r.estimate.median.value for r in chosen])
            rows.append([codec, what, f"{slope.value:.3f}", f"{slope.low:.3f} to {slope.high:.3f}"])
    return Table("Slope of log time over log non-zeros", ["codec", "sizes", "slope", "95 % interval"], rows)


def scaling(book: Book) -> Table:
    rows = [[result.label("codec"), result.label("rows"), result.label("threads"),
             text.with_error(result.estimate.median), text.rate(result.rate, "weights"), share(result)]
            for result in book.family("scaling") if not result.machine]
    return Table("", ["codec", "side", "threads", "time", "rate", "share of the limit"],
                 sorted(rows, key=lambda row: (row[0], int(row[1]), int(row[2]))))


def primes(book: Book) -> Table:
    rows = [[result.name.split("/")[1], text.rate(result.rate, "look-ups"), share(result), result.machine]
            for result in book.family("primes")]
    return Table("", ["", "rate, one core", "share of the limit", "measured on"], rows,
                 "The limit: two loads from the first cache a look-up.")


# ---- models and the rest

def models(book: Book) -> Table:
    """As llama-bench prints it: mean and standard deviation of tokens a second."""
    rows = []
    for result in book.family("model"):
        rates = [result.benchmark.amount / sample.each for sample in result.samples]
        mean = sum(rates) / len(rates)
        deviation = (sum((each - mean) ** 2 for each in rates) / max(len(rates) - 1, 1)) ** 0.5
        rows.append([result.label("model"), text.size(float(result.label("file_bytes") or 0)),
                     result.label("backend"), result.label("threads"), result.label("test"),
                     f"{mean:.2f} ± {deviation:.2f}", share(result), result.machine])
    return Table("", ["model", "size", "backend", "threads", "test", "t/s", "share of the limit", "measured on"], rows,
                 "pp512: a prompt of 512 tokens from scratch; first-pp512: the first of a model just loaded; tg128: 128 "
                 "tokens one after the other; tg16@512: 16 steps behind a shared prompt of 512, all sequences "
                 "together; products: cuBLAS, those of a token alone with bf16 weights. The limit of generation is reading every weight once a step, that of "
                 "prompts the processor's int8 peak.")


def every(book: Book, families: tuple[str, ...] = ()) -> Table:
    rows = []
    for result in book.results:
        if families and result.benchmark.family not in families:
            continue
        outliers, slope = result.estimate.outliers, result.estimate.slope
        rows.append([result.name, text.with_error(result.estimate.median), text.seconds(result.estimate.mean.value),
                     text.seconds(result.estimate.deviation), text.seconds(slope.value) if slope else "",
                     f"{outliers.low_severe}/{outliers.low_mild}/{outliers.high_mild}/{outliers.high_severe}",
                     str(result.estimate.samples), text.rate(result.rate, result.benchmark.unit), share(result),
                     result.machine])
    return Table("", ["benchmark", "median", "mean", "deviation", "slope", "outliers", "samples", "rate",
                      "share of the limit", "measured on"], rows,
                 "Median with half its 95 % bootstrap interval; slope of total time over iterations; outliers by "
                 "Tukey's fences: low severe / low mild / high mild / high severe.")


def comparisons(book: Book) -> list[Table]:
    """What changed, and, folded, what did not."""
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    compared = [result for result in book.results if result.comparison]
    for result in sorted(compared, key=lambda each: -each.comparison.ratio):
        change = result.comparison
        rows[change.verdict != "no change"].append(
            [result.name, change.verdict, f"{change.ratio:.3f}", f"{change.low:.3f} to {change.high:.3f}",
             f"{change.p:.4f}", str(change.pairs)])
    how = "Both programs were measured in turns. " if any(each.comparison.paired for each in compared) else ""
    note = f"{how}Changed: the test's p below 0.01 and the whole interval beyond the noise threshold."
    columns = ["benchmark", "verdict", "time, new over old", "95 % interval", "p", "samples"]
    return [Table("", columns, rows[True], note), Table("", columns, rows[False], note, folded=True)]


def verdicts(book: Book) -> str:
    """How many of each, in words."""
    counts = Counter(each.comparison.verdict for each in book.results if each.comparison)
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))


def without_empty_columns(table: Table) -> Table:
    keep = [i for i, name in enumerate(table.columns)
            if name != "measured on" or any(row[i] for row in table.rows)]
    return replace(table, columns=[table.columns[i] for i in keep],
                   rows=[[row[i] for i in keep] for row in table.rows])
