"""Figures of several rounds, and the table made of them."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field

# What the others are measured against, in this order, and what the columns are called.
REFERENCES = {"nats": "× NATS", "postgres": "× PostgreSQL"}


@dataclass
class Figure:
    """What one system did in one round."""

    events: int
    rate: float
    """Events a second, from the order to copy until all were held."""
    limit: float | None = None
    """Events a second that the store below it could take, where that was measured in the same round."""


@dataclass
class Row:
    """One system: what it is, and its figures so far, or why it has none."""

    key: str
    system: str
    encrypted: str
    synced: str
    figures: list[Figure] = field(default_factory=list)
    none: str | None = None
    """Why there are no figures: `skipped: …` or `failed: …`."""

    def rate(self) -> float | None:
        return None if self.none or not self.figures else statistics.median(f.rate for f in self.figures)

    def of_limit(self) -> float | None:
        limits = [f.limit for f in self.figures if f.limit]
        rate = self.rate()
        return rate / statistics.median(limits) if rate and limits else None


def records(rows: list[Row], size: int) -> list[dict]:
    """The rows as programs read them: plain numbers, and None where there is no figure."""
    rates = {row.key: row.rate() for row in rows}
    return [record(row, size, rates) for row in rows]


def record(row: Row, size: int, rates: dict[str, float | None]) -> dict:
    rate = row.rate()
    seen = [round(f.rate) for f in row.figures] if rate else []
    made = {
        "system": row.system,
        "encrypted": row.encrypted,
        "synced": row.synced,
        "events": row.figures[0].events if rate else None,
        "rounds": seen,
        "events/s": round(rate) if rate else None,
        "least": min(seen, default=None),
        "most": max(seen, default=None),
        "MB/s": round(rate * size / 1e6, 1) if rate else None,
    }
    for key, name in REFERENCES.items():
        reference = rates.get(key)
        made[name] = round(rate / reference, 2) if rate and reference else None
    limit = row.of_limit()
    made["of RocksDB"] = round(limit, 2) if limit else None
    made["none"] = row.none
    return made


def lines(rows: list[Row], size: int) -> str:
    """One JSON object a line."""
    return "\n".join(json.dumps(made, ensure_ascii=False) for made in records(rows, size))


def table(rows: list[Row], size: int) -> str:
    """The rows as a Markdown table."""
    header = ["system", "encrypted", "synced", "events", "events/s", "least to most", "MB/s"]
    header += [*REFERENCES.values(), "of RocksDB"]
    body = [cells(made) for made in records(rows, size)]
    widths = [max(len(line[at]) for line in [header, *body]) for at in range(len(header))]
    # The first three columns are words, the others numbers.
    rule = ["-" * width if at < 3 else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    aligned = [f"{'<' if at < 3 else '>'}{width}" for at, width in enumerate(widths)]
    lined = [[format(cell, how) for cell, how in zip(line, aligned)] for line in [header, *body]]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lined[0], rule, *lined[1:]])


def cells(made: dict) -> list[str]:
    if made["events/s"] is None:
        spread = ""
        rate = made["none"] or "not run"
    else:
        spread = f"{made['least']:,} to {made['most']:,}"
        rate = f"{made['events/s']:,}"
    ratios = [ratio(made[name]) for name in REFERENCES.values()]
    share = "" if made["of RocksDB"] is None else f"{made['of RocksDB']:.0%}"
    events = "" if made["events"] is None else f"{made['events']:,}"
    megabytes = "" if made["MB/s"] is None else f"{made['MB/s']}"
    return [made["system"], made["encrypted"], made["synced"], events, rate, spread, megabytes, *ratios, share]


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
