#!/usr/bin/env python3
"""Draws throughput.svg from throughput.csv: cells per second against the diversity of minibatches, from the disk and from the page cache.

    benches/record/throughput.py            writes the figure beside this script
    benches/record/throughput.py --check    compares it with the one that is there

The same figures give the same bytes. Needs nothing but Python's own library.
"""

import csv
import math
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 760, 690
LEFT, RIGHT = 80, 24
BITS = 3.8
RANDOM_BITS = 3.64
# Between two labels.
LINE = 13


@dataclass
class Panel:
    source: str
    """Which rows: disk or cache."""
    title: str
    top: int
    bottom: int
    powers: range
    """Of ten, that the axis has."""

    def y(self, cells):
        low, high = self.powers[0], self.powers[-1]
        return self.bottom - (math.log10(cells) - low) / (high - low) * (self.bottom - self.top)


PANELS = [
    Panel("disk", "Cells per second from the disk (log scale)", 46, 366, range(2, 7)),
    Panel("cache", "From the page cache", 432, 612, range(3, 7)),
]


def x(bits):
    return LEFT + bits / BITS * (WIDTH - LEFT - RIGHT)


def text(px, py, words, anchor="middle", more=""):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def line(x1, y1, x2, y2, stroke, more=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{more}/>'


def axes(panel):
    for power in panel.powers:
        at = panel.y(10**power)
        yield line(LEFT, at, WIDTH - RIGHT, at, "#dddddd")
        yield text(LEFT - 8, at + 4, f"{10**power:,}", "end")
    for bits in range(4):
        yield line(x(bits), panel.bottom, x(bits), panel.bottom + 5, "#555555")
        yield text(x(bits), panel.bottom + 20, str(bits))
    yield line(x(RANDOM_BITS), panel.top, x(RANDOM_BITS), panel.bottom, "#999999", ' stroke-dasharray="4 4"')
    yield text(x(RANDOM_BITS), panel.bottom + 20, "true random")
    yield text((LEFT + WIDTH - RIGHT) / 2, panel.top - 22, panel.title, more=' font-weight="bold"')


def points(panel, rows):
    rows = sorted((row for row in rows if row["source"] == panel.source), key=lambda row: -int(row["cells_per_second"]))
    place = {id(row): (x(float(row["entropy_bits"])), panel.y(float(row["cells_per_second"]))) for row in rows}
    ours = [row for row in rows if row["system"] == "cellring" and place[id(row)][0] > WIDTH / 2]
    path = " ".join("{:.1f},{:.1f}".format(*place[id(row)]) for row in sorted(ours, key=lambda row: row["entropy_bits"]))
    yield f'<polyline points="{path}" fill="none" stroke="#c0392b" stroke-width="1.5"/>'
    # Labels are left of the points that they name, at the left end right of them, and each at least a line below the one before it.
    left = min(px for px, _ in (place[id(row)] for row in rows) if px > WIDTH / 2) - 10
    lowest = panel.top - 2 * LINE
    for row in rows:
        px, py = place[id(row)]
        is_ours = row["system"] == "cellring"
        colour = "#c0392b" if is_ours else "#34495e"
        title = f'{row["date"]}, {row["machine"]}'
        yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{colour}"><title>{title}</title></circle>'
        words = f'{row["system"]}, {row["setting"]}: {int(row["cells_per_second"]):,}'
        weight = ' font-weight="bold"' if is_ours else ""
        if px < WIDTH / 2:
            yield text(px + 10, py + 4, words, "start", f' fill="{colour}"{weight}')
            continue
        lowest = max(py + 4, lowest + LINE)
        yield text(left, lowest, words, "end", f' fill="{colour}"{weight}')


def draw():
    with open(HERE / "throughput.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#222222">'
    )
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    below = text(middle, HEIGHT - 42, "diversity: entropy of the plate within minibatches of 64 cells, in bits")
    places = sorted({(row["machine"], row["date"]) for row in rows}, key=lambda place: place[::-1], reverse=True)
    named = "; ".join(f"{machine}, {date}" for machine, date in places)
    machines = text(middle, HEIGHT - 18, f"virtual machines: {named}", more=' fill="#666666"')
    drawn = [part for panel in PANELS for part in (*axes(panel), *points(panel, rows))]
    return "\n".join([head, background, *drawn, below, machines, "</svg>"]) + "\n"


def main():
    figure = HERE / "throughput.svg"
    if sys.argv[1:] == ["--check"]:
        if figure.read_text() != draw():
            sys.exit("throughput.svg is not what throughput.csv says; run benches/record/throughput.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        figure.write_text(draw())


main()
