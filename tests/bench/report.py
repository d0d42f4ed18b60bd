#!/usr/bin/env python3
"""report.py FOLDER: makes tables and plots from FOLDER/samples.csv, FOLDER/switches.csv and FOLDER/requests.csv.

A ratio is of two figures of the same round; a table gives the median of a ratio over the rounds, and the smallest and
largest of them.
"""
import collections
import csv
import pathlib
import statistics
import subprocess
import sys

PEERS = {"asio": "Asio", "go": "Go", "node": "Node"}
SERVERS = {"ours": "ours"} | PEERS
OTHERS = {"bare": "a bare loop", "asio-gather": "Asio's chat, gathering"}
# What is compared: the column, its name, its unit, by what it is divided for the unit, and in which workloads.
FAIRNESS = ("fairness", "fairness-8")
NO_RATE = ("idle", *FAIRNESS)
NO_LATENCY = ("idle", "burst")
NO_REQUESTS = ("idle", "burst", *FAIRNESS)
MEASURES = {
    "rate": ("per_second", "rate", "/s", 1, lambda workload: workload not in NO_RATE),
    "p99": ("p99_us", "p99", "ms", 1e3, lambda workload: workload not in NO_LATENCY),
    "requests": ("requests", "requests to Wine's server", "each", 1, lambda workload: workload not in NO_REQUESTS),
    "noisy": ("noisy_mb_per_second", "what the noisy get", "MB/s", 1, lambda workload: workload in FAIRNESS),
    "memory": ("server_bytes", "memory of the server", "KiB a connection", 1024, lambda workload: workload == "idle"),
    "whole": ("whole_bytes", "and of Wine's server", "KiB a connection", 1024, lambda workload: workload == "idle"),
}


def write(file, text):
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Samples:
    def __init__(self, file):
        self.values = collections.defaultdict(dict)  # (workload, server, column): {round: value}
        self.workloads, self.rounds, self.errors = [], set(), 0
        with file.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                if row["workload"] not in self.workloads:
                    self.workloads.append(row["workload"])
                self.rounds.add(row["round"])
                self.errors += int(row["errors"])
                if row["workload"] in FAIRNESS:  # whose messages differ in size
                    row["calls_per_message"] = ""
                for column, text in row.items():
                    if text and column not in ("round", "workload", "server"):
                        values = self.values[row["workload"], row["server"], column]
                        values[row["round"]] = float(text)
                if row["server_writes"]:
                    values = self.values[row["workload"], row["server"], "requests"]
                    values[row["round"]] = float(row["server_writes"]) / float(row["count"])

    def median(self, workload, server, column):
        values = self.values.get((workload, server, column))
        return statistics.median(values.values()) if values else None

    def ratio(self, workload, server, base, column):
        """(median, smallest, largest) of server's / base's within a round; None where there is nothing to compare."""
        values = self.values.get((workload, server, column), {})
        bases = self.values.get((workload, base, column), {})
        ratios = [values[r] / bases[r] for r in values if bases.get(r, 0) > 0]
        return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def ratio_text(ratio):
    return "–" if ratio is None else "**{:.2f}** ({:.2f}–{:.2f})".format(*ratio)


def heading(samples):
    return [f"{len(samples.rounds)} rounds, {samples.errors} errors. Medians; in brackets the smallest and largest of "
            "the rounds.", ""]


def ratios_table(file):
    samples = Samples(file)
    lines = heading(samples) + [
        "| workload | measure | " + " | ".join(SERVERS.values()) + " | "
        + " | ".join(f"ours / {name}" for name in PEERS.values()) + " |",
        "|---|---|" + "---:|" * (len(SERVERS) + len(PEERS)),
    ]
    for workload in samples.workloads:
        for column, name, unit, divisor, applies in MEASURES.values():
            if not applies(workload):
                continue
            if workload == "large" and column == "per_second":
                unit, divisor = "MB/s", 1e6 / 65536
            cells = []
            for server in SERVERS:
                median = samples.median(workload, server, column)
                cells.append("–" if median is None else number(median / divisor))
            for peer in PEERS:
                cells.append(ratio_text(samples.ratio(workload, "ours", peer, column)))
            lines.append(f"| {workload} | {name}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def others_table(file):
    """What OTHERS do, our rate and p99 divided by theirs, and their rate divided by that of each peer."""
    samples = Samples(file)
    lines = ["| server | workload | rate, /s | p99, ms | requests to Wine's server, each | ours / it, rate | p99 | "
             + " | ".join(f"it / {name}, rate" for name in PEERS.values()) + " |",
             "|---|---|" + "---:|" * (5 + len(PEERS))]
    for server, name in OTHERS.items():
        for workload in samples.workloads:
            if samples.median(workload, server, "count") is None:
                continue
            cells = [number(samples.median(workload, server, column) / divisor)
                     for column, divisor in (("per_second", 1), ("p99_us", 1e3), ("requests", 1))]
            cells += [ratio_text(samples.ratio(workload, "ours", server, column)) for column in ("per_second", "p99_us")]
            cells += [ratio_text(samples.ratio(workload, server, peer, "per_second")) for peer in PEERS]
            lines.append(f"| {name} | {workload} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def calls_table(file):
    """Calls of WSARecv, WSASend, the dequeue and the post for each message that our server sent."""
    samples = Samples(file)
    lines = ["| workload | calls a message |", "|---|---:|"]
    for workload in samples.workloads:
        calls = samples.median(workload, "ours", "calls_per_message")
        if calls is not None:
            lines.append(f"| {workload} | {calls:.2f} |")
    return "\n".join(lines) + "\n"


def switches_table(file):
    samples = Samples(file)
    lines = heading(samples) + [
        "| changed | workload | rate | p99 | calls a message | memory, KiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    servers = {server: None for _, server, _ in samples.values if server != "ours"}
    for server in servers:
        for workload in samples.workloads:
            if not samples.values.get((workload, server, "per_second")):
                continue
            cells = [server, workload]
            for measure in ("rate", "p99"):
                column, _, _, _, applies = MEASURES[measure]
                cells.append(ratio_text(samples.ratio(workload, server, "ours", column)) if applies(workload) else "–")
            for column, divisor in (("calls_per_message", 1), ("server_bytes", 1024)):
                pair = [samples.median(workload, name, column) for name in ("ours", server)]
                cells.append("–" if None in pair else "{:.3g} → {:.3g}".format(*(value / divisor for value in pair)))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def requests_table(file):
    """What a message of a workload asks of Wine's server: a row for each kind of request, a column for each server."""
    each = collections.defaultdict(dict)
    servers = {}
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            servers[row["server"]] = None
            each[row["workload"], row["request"]][row["server"]] = float(row["each"])
    names = [(SERVERS | OTHERS)[server] for server in servers]
    lines = ["| workload | request | " + " | ".join(names) + " |", "|---|---|" + "---:|" * len(names)]
    # First what all of them ask for.
    for (workload, request), counts in sorted(each.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        if max(counts.values()) >= 0.1:
            cells = [f"{counts.get(server, 0):.1f}" for server in servers]
            lines.append(f"| {workload} | `{request}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


TABLES = {"ratios": ratios_table, "others": others_table, "calls": calls_table, "switches": switches_table,
          "requests": requests_table}


def plot_ratios(samples, folder, measure, title, base):
    """One point for each workload and peer, with a bar from the smallest to the largest ratio of the rounds."""
    column, _, _, _, applies = MEASURES[measure]
    workloads = [workload for workload in samples.workloads if applies(workload)]
    blocks = []
    for shift, peer in zip((-0.2, 0, 0.2), PEERS):
        ratios = ((at, samples.ratio(workload, "ours", peer, column)) for at, workload in enumerate(workloads))
        blocks.append("\n".join("{} {} {} {}".format(at + shift, *ratio) for at, ratio in ratios if ratio))
    drawn = [(block, name) for block, name in zip(blocks, PEERS.values()) if block]
    if not drawn:
        return
    tics = ", ".join(f'"{workload}" {at}' for at, workload in enumerate(workloads))
    script = f"""
        set terminal svg size 900,420 font "sans-serif,13" background "white"
        set output "{folder / (measure + '.svg')}"
        set title "{title}"
        set logscale y {base}
        set format y "%g"
        set grid ytics
        set xrange [-0.5:{len(workloads) - 0.5}]
        set xtics ({tics}) rotate by -30
        set key outside
        set bars 0.5
    """
    script += "".join(f"$peer{i} << EOD\n{block}\nEOD\n" for i, (block, _) in enumerate(drawn))
    script += 'plot 1 notitle lc "black", ' + ", ".join(
        f'$peer{i} using 1:2:3:4 with yerrorbars pt 7 ps 0.7 lw 2 title "{name}"' for i, (_, name) in enumerate(drawn))
    subprocess.run(["gnuplot"], input=script, encoding="utf-8", check=True)


def plot_memory(samples, folder):
    rows = []
    for server, name in SERVERS.items():
        own = samples.median("idle", server, "server_bytes")
        whole = samples.median("idle", server, "whole_bytes")
        if own is not None:
            rows.append(f'"{name}" {own / 1024} {(whole - own) / 1024}')
    if not rows:
        return
    data = "\n".join(rows)
    script = f"""
        set terminal svg size 600,360 font "sans-serif,13" background "white"
        set output "{folder / 'memory.svg'}"
        set title "Memory of an idle connection, KiB"
        set style data histograms
        set style histogram rowstacked
        set style fill solid 0.8 border -1
        set boxwidth 0.6
        set yrange [0:*]
        set grid ytics
        set key outside
$rows << EOD\n{data}\nEOD
        plot $rows using 2:xtic(1) title "the server", "" using 3 title "Wine's server"
    """
    subprocess.run(["gnuplot"], input=script, encoding="utf-8", check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    for kind in ("switches", "requests"):
        if (out / f"{kind}.csv").exists():
            write(out / f"{kind}.md", TABLES[kind](out / f"{kind}.csv"))
    if (out / "samples.csv").exists():
        tables = (TABLES[kind](out / "samples.csv") for kind in ("ratios", "others", "calls"))
        write(out / "table.md", "\n".join(tables))
        samples = Samples(out / "samples.csv")
        plot_ratios(samples, out, "rate", "Rate, ours divided by theirs: above 1, ours is ahead", 2)
        plot_ratios(samples, out, "p99", "p99 latency, ours divided by theirs: below 1, ours is ahead", 10)
        plot_memory(samples, out)
