"""Tests of what needs no server: `python3 -m unittest discover benches/peers`."""

import json
import signal
import sys
import unittest

from antiphon import parse
from processes import Deadline, Failed, Skipped, directory, find, free_ports, run, server
from results import Figure, Row, lines, table


def rows() -> list[Row]:
    ours = Row("quic", "Antiphon, QUIC", "TLS 1.3", "each batch", [Figure(10, 600, 1000), Figure(10, 400, 900)])
    nats = Row("nats", "NATS", "no", "no", [Figure(10, 200), Figure(10, 300), Figure(10, 250)])
    return [ours, nats, Row("postgres", "PostgreSQL", "no", "no", none="skipped: it is not there")]


class Results(unittest.TestCase):
    def test_ratios_are_those_of_the_medians(self):
        ours, nats, postgres = map(json.loads, lines(rows(), 256).splitlines())
        self.assertEqual((ours["events/s"], ours["least"], ours["most"]), (500, 400, 600))
        self.assertEqual((ours["× NATS"], nats["× NATS"]), (2.0, 1.0))
        self.assertEqual(ours["of RocksDB"], 0.53)
        self.assertEqual((postgres["events/s"], postgres["× NATS"]), (None, None))

    def test_what_was_skipped_has_a_row_without_figures(self):
        made = table(rows(), 256).splitlines()
        self.assertEqual(len(made), 5)
        self.assertEqual(len({len(line) for line in made}), 1)
        self.assertIn("skipped: it is not there", made[4])
        self.assertNotIn("× PostgreSQL", made[4])

    def test_what_failed_in_a_later_round_loses_its_figures(self):
        row = Row("nats", "NATS", "no", "no", [Figure(10, 200)], none="failed: it stopped")
        self.assertIsNone(row.rate())


class Ours(unittest.TestCase):
    def test_each_line_is_a_transport(self):
        said = '{"transport":"quic","events/s":5,"RocksDB events/s":10}\n\n{"transport":"https","events/s":4.5}\n'
        self.assertEqual(parse(said, 7), {"quic": Figure(7, 5.0, 10.0), "https": Figure(7, 4.5)})

    def test_anything_else_is_a_failure(self):
        for said in ["| transport |", '{"transport":"quic"}', "[]"]:
            with self.subTest(said), self.assertRaises(Failed):
                parse(said, 7)


class Processes(unittest.TestCase):
    def test_ports_differ(self):
        self.assertEqual(len(set(free_ports(8))), 8)

    def test_what_is_missing_is_skipped(self):
        with self.assertRaises(Skipped):
            find("no-such-program", "there is none")

    def test_a_program_is_bounded_in_time(self):
        with self.assertRaises(Failed):
            run([sys.executable, "-c", "import time; time.sleep(60)"], Deadline(0.2))

    def test_a_server_ends_with_its_block(self):
        with directory() as place:
            command = [sys.executable, "-c", "import time; time.sleep(60)"]
            with server(command, place / "log") as process:
                self.assertIsNone(process.poll())
            self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertFalse(place.exists())


if __name__ == "__main__":
    unittest.main()
