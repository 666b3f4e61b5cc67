"""NATS JetStream: a stream on one server, mirrored by another one over a leaf node. Files, no TLS, no sync of its own
accord within a round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from processes import Deadline, Failed, Skipped, directory, find, free_ports, run, server, until_open
from results import Figure, Row

try:
    import nats
    from nats.js.api import ExternalStream, StreamConfig, StreamSource
except ImportError:
    nats = None

STREAM, MIRROR, SUBJECT = "SOURCE", "MIRROR", "events.bench"
# So many messages are on their way before the client waits for the server to have read them.
PIPELINE = 5000
# How often the mirror is asked how far it is: seldom enough to cost it nothing.
POLL = 0.02
# The messages' bytes are cut out of so many random ones: there is nothing to compress, and little to make.
RANDOM = os.urandom(1 << 20)

CONFIG = """
server_name: {name}
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{store}", domain: {name} }}
leafnodes {{ {leaf} }}
"""


class JetStream:
    name = "nats"

    def rows(self) -> list[Row]:
        return [Row("nats", "NATS JetStream, mirror", "no", "no")]

    def measure(self, events: int, size: int, deadline: Deadline) -> dict[str, Figure]:
        program = find("nats-server", "Debian: nats-server")
        if nats is None:
            raise Skipped("there is no nats-py (pip install -r benches/peers/requirements.txt)")
        with directory() as place, pair(program, place, deadline) as ports:
            try:
                seconds = asyncio.run(asyncio.wait_for(replicate(ports, events, size), deadline.left()))
            except (asyncio.TimeoutError, TimeoutError):
                raise Failed(f"it took longer than {deadline.seconds:.0f} s") from None
            except (nats.errors.Error, OSError) as error:
                raise Failed(f"{type(error).__name__}: {error}") from None
        return {"nats": Figure(events, events / seconds)}

    def version(self) -> str:
        return run([find("nats-server", "Debian: nats-server"), "--version"], Deadline(10)).strip()


@contextlib.contextmanager
def pair(program: str, place: Path, deadline: Deadline) -> Iterator[tuple[int, int]]:
    """Two servers; the second one dials the first one's port for leaf nodes. Yields their ports for clients."""
    first, second, leaf = free_ports(3)
    leaves = {
        "first": (first, f'listen: "127.0.0.1:{leaf}"'),
        "second": (second, f'remotes: [ {{ url: "nats-leaf://127.0.0.1:{leaf}" }} ]'),
    }
    with contextlib.ExitStack() as running:
        for name, (port, leaf_text) in leaves.items():
            config = place / f"{name}.conf"
            config.write_text(CONFIG.format(name=name, port=port, store=place / name, leaf=leaf_text))
            log = place / f"{name}.log"
            process = running.enter_context(server([program, "-c", str(config)], log))
            until_open(port, process, log, deadline)
        yield first, second


async def replicate(ports: tuple[int, int], events: int, size: int) -> float:
    """Fills the stream, lets it be mirrored, and returns the seconds that the mirror took."""
    source, copy = [await connect(port) for port in ports]
    try:
        first, second = source.jetstream(), copy.jetstream()
        await until_joined(copy)
        await first.add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT], storage="file"))
        await publish(source, events, size)
        await until_held(first, STREAM, events)
        origin = StreamSource(name=STREAM, external=ExternalStream(api="$JS.first.API"))
        began = time.monotonic()
        await second.add_stream(StreamConfig(name=MIRROR, storage="file", mirror=origin))
        await until_held(second, MIRROR, events)
        seconds = time.monotonic() - began
        await check(second, events, size)
        return seconds
    finally:
        await source.close()
        await copy.close()


async def connect(port: int):
    """A client that says nothing of errors itself: those that matter are raised where something is asked of it."""

    async def quiet(_error: Exception) -> None:
        pass

    return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, connect_timeout=5, error_cb=quiet)


async def until_joined(copy) -> None:
    """Until the second server reaches the first one's JetStream through the leaf node."""
    through = copy.jetstream(domain="first", timeout=1)
    while True:
        try:
            return await through.account_info()
        except (nats.errors.Error, TimeoutError):
            await asyncio.sleep(0.05)


def payload(n: int, size: int) -> bytes:
    start = n * 7919 % (len(RANDOM) - size)
    return RANDOM[start : start + size]


async def publish(source, events: int, size: int) -> None:
    for n in range(events):
        await source.publish(SUBJECT, payload(n, size))
        if n % PIPELINE == PIPELINE - 1:
            await source.flush()
    await source.flush()


async def until_held(context, stream: str, events: int) -> None:
    while (await context.stream_info(stream)).state.messages < events:
        await asyncio.sleep(POLL)


async def check(second, events: int, size: int) -> None:
    """That the mirror holds all of it: as many as were sent, from the first to the last, and what was in them."""
    state = (await second.stream_info(MIRROR)).state
    if (state.messages, state.first_seq, state.last_seq) != (events, 1, events):
        raise Failed(f"the mirror holds {state.messages} messages, {state.first_seq} to {state.last_seq}, of {events}")
    for n in {0, events // 3, events // 2, events - 1}:
        held = await second.get_msg(MIRROR, n + 1)
        if held.data != payload(n, size):
            raise Failed(f"message {n + 1} of the mirror is another than was sent")
