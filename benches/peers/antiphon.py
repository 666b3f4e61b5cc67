"""Antiphon: what its own bench says of two processes."""

from __future__ import annotations

import json
import os

from processes import Deadline, Failed, directory, find, run
from results import Figure, Row

TRANSPORTS = {"quic": "QUIC", "https": "HTTPS"}


class Antiphon:
    name = "antiphon"

    def __init__(self, program: str) -> None:
        self.program = program

    def rows(self) -> list[Row]:
        return [Row(key, f"Antiphon, {shown}", "TLS 1.3", "each batch") for key, shown in TRANSPORTS.items()]

    def measure(self, events: int, size: int, deadline: Deadline) -> dict[str, Figure]:
        program = find(self.program, "say where by --antiphon")
        command = [program, "replicate", "--transport", ",".join(TRANSPORTS)]
        # What it leaves behind where it is ended goes with the directory.
        with directory() as place:
            environment = {**os.environ, "TMPDIR": str(place)}
            said = run([*command, "--events", str(events), "--size", str(size), "--json"], deadline, env=environment)
        figures = parse(said, events)
        if missing := [transport for transport in TRANSPORTS if transport not in figures]:
            raise Failed(f"its bench said nothing of {', '.join(missing)}")
        return figures


def parse(said: str, events: int) -> dict[str, Figure]:
    """The figures in the bench's output: one JSON object a line and transport."""
    figures = {}
    for line in filter(None, map(str.strip, said.splitlines())):
        try:
            made = json.loads(line)
            limit = made.get("RocksDB events/s")
            figures[made["transport"]] = Figure(events, float(made["events/s"]), float(limit) if limit else None)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failed(f"its bench said what is not understood here ({error!r}): {line[:80]}") from None
    return figures
