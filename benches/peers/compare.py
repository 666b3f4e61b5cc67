#!/usr/bin/env python3
"""The same number of events of the same size through Antiphon, NATS JetStream and PostgreSQL, in turns.

Each round lets every system do its work once, so that whatever else this machine does meets all of them. Printed are
medians and ratios within this run. A system that is not installed is skipped, and its row says why."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from antiphon import Antiphon
from jetstream import JetStream
from postgres import TRANSACTION, Postgres
from processes import Deadline, Failed, Skipped
from results import Row, lines, table


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("give a number above 0")
    return value


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--antiphon", default="antiphon-bench", metavar="PATH", help="the program (on the PATH)")
    options.add_argument("--peers", default="nats,postgres", help="whom to compare with (nats,postgres)")
    options.add_argument("--events", type=positive, default=1_000_000, help="for Antiphon and NATS (1000000)")
    options.add_argument(
        "--postgres-events", type=positive, help="for PostgreSQL, slower to fill (200000, or EVENTS if less)"
    )
    options.add_argument("--size", type=positive, default=256, help="bytes of data in each event (256)")
    options.add_argument("--rounds", type=positive, default=3, help="how often each system does it (3)")
    options.add_argument("--timeout", type=positive, default=900, help="seconds for one system in one round (900)")
    options.add_argument("--dir", type=Path, help="put everything below this directory, whose disk is measured")
    options.add_argument("--postgres-bin", metavar="DIR", help="where initdb, postgres and psql stand")
    options.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    chosen = options.parse_args()
    chosen.peers = [name for name in chosen.peers.split(",") if name]
    if unknown := set(chosen.peers) - {"nats", "postgres"}:
        options.error(f"unknown peers: {', '.join(sorted(unknown))}")
    # JetStream takes no larger message by default, and the random bytes that payloads are cut from are not many more.
    if chosen.size > 1_000_000:
        options.error("--size: 1000000 at most")
    if chosen.dir and not chosen.dir.is_dir():
        options.error(f"--dir: {chosen.dir} is no directory")
    if chosen.postgres_events is None:
        chosen.postgres_events = min(chosen.events, 200_000)
    return chosen


def main() -> int:
    # Whatever ends this program ends what it started, by the road of an exception. In the background of a shell the
    # interrupt would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return compare(arguments())
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def compare(chosen: argparse.Namespace) -> int:
    if chosen.dir:
        os.environ["TMPDIR"] = str(chosen.dir.resolve())
    systems = [Antiphon(chosen.antiphon)]
    systems += [JetStream()] if "nats" in chosen.peers else []
    systems += [Postgres(chosen.postgres_bin)] if "postgres" in chosen.peers else []
    rows = {system.name: {row.key: row for row in system.rows()} for system in systems}
    for number in range(chosen.rounds):
        # Another one begins in each round.
        at = number % len(systems)
        for system in systems[at:] + systems[:at]:
            one_turn(system, rows[system.name], chosen, number)
    every = [row for of_system in rows.values() for row in of_system.values()]
    if chosen.json:
        print(lines(every, chosen.size))
    else:
        print(table(every, chosen.size))
        print()
        print(notes(systems, chosen))
    return 1 if any((row.none or "").startswith("failed") for row in every) else 0


def one_turn(system, rows: dict[str, Row], chosen: argparse.Namespace, number: int) -> None:
    """Lets one system do its work once; one that was skipped or failed before is left alone."""
    if any(row.none for row in rows.values()):
        return
    events = chosen.postgres_events if system.name == "postgres" else chosen.events
    try:
        figures = system.measure(events, chosen.size, Deadline(chosen.timeout))
    except (Skipped, Failed) as error:
        why = f"{type(error).__name__.lower()}: {error}".replace("|", "/")
        for row in rows.values():
            row.none = why
        say(f"round {number + 1}: {system.name} {why}")
        return
    for key, figure in figures.items():
        rows[key].figures.append(figure)
        say(f"round {number + 1}: {rows[key].system}: {figure.rate:,.0f} events/s")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def notes(systems: list, chosen: argparse.Namespace) -> str:
    versions = []
    for system in systems[1:]:
        with contextlib.suppress(Skipped, Failed):
            versions.append(system.version())
    told = [
        f"Events of {chosen.size} bytes, from one process to another on loopback. Medians; rounds, taken in turns:",
        f"{chosen.rounds}; processors: {os.cpu_count()}. × is a rate beside that system's; of RocksDB, beside what",
        "RocksDB takes of the same puts in the same run.",
    ]
    if "postgres" in chosen.peers:
        told.append(f"PostgreSQL copies {TRANSACTION} rows a transaction.")
        if chosen.postgres_events < chosen.events:
            told.append(f"It is given {chosen.postgres_events:,} events only, since it is slower to fill.")
    if versions:
        told.append(f"Beside: {'; '.join(versions)}.")
    return " ".join(told)


if __name__ == "__main__":
    sys.exit(main())
