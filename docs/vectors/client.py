#!/usr/bin/env python3
"""Reads the whole log of a node from /v1/fetch, and verifies it: inceptions, key statements, chains, seals and heads.

    python3 client.py https://localhost:7443 [--ca ca.pem] [--key KEY]
    python3 client.py --vectors .

It follows protocol.md and format.md, and needs the standard library alone. With the package `cryptography` it verifies
signatures some hundred times faster. Exit code 0: all of it holds.
"""

import argparse
import base64
import hashlib
import json
import os
import ssl
import struct
import sys
import urllib.request
from pathlib import Path

# Ed25519 ----------------------------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(n, p):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, p)
        p, n = add(p, p), n >> 1
    return result


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return x if x & 1 == sign else P - x


def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def equal(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


Y = 4 * pow(5, -1, P) % P
BASE = (recover_x(Y, 0), Y, 1, recover_x(Y, 0) * Y % P)


def verifies(key, message, signature):
    """Whether this key signed the message: RFC 8032, without points of small order."""
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    small = lambda p: equal(multiply(8, p), (0, 1, 1, 0))
    if len(signature) != 64 or a is None or r is None or s >= ORDER or small(a) or small(r):
        return False
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
        return equal(multiply(s, BASE), add(r, multiply(h, a)))
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except InvalidSignature:
        return False


# Bytes ------------------------------------------------------------------------------------------------------------------


class Invalid(Exception):
    """What was received does not hold."""


def expect(holds, what):
    if not holds:
        raise Invalid(what)


class Reader:
    """Reads bincode's standard encoding."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        expect(self.at + count <= len(self.data), "the bytes end too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.raw(1)[0]

    def unsigned(self):
        first = self.byte()
        if first < 251:
            return first
        expect(first <= 253, "an integer has an unknown form")
        return int.from_bytes(self.raw(1 << first - 250), "little")

    def bytes(self):
        return self.raw(self.unsigned())

    def list(self, entry):
        return [entry() for _ in range(self.unsigned())]

    def option(self, value):
        return value() if self.byte() else None


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def cursor(reader):
    return reader.unsigned(), reader.unsigned(), reader.raw(16)


def head(reader):
    return reader.raw(24), reader.unsigned(), reader.raw(32)


def batch(body):
    """The fields of a batch that are verified."""
    r = Reader(body)
    request = (r.unsigned(), r.unsigned(), r.unsigned())
    server, log, algorithm = r.raw(16), r.option(lambda: r.raw(16)), r.byte()
    expect(algorithm == 2, "the digest algorithm is not SHA-256")
    cursors = cursor(r), cursor(r), r.unsigned(), cursor(r), r.unsigned()
    heads = r.list(lambda: head(r))
    events = r.list(lambda: (r.unsigned(), r.bytes()))
    inceptions = dict(r.list(lambda: (r.raw(24), r.bytes())))
    seals = r.list(lambda: r.raw(64))
    return {"request": request, "server": server, "log": log, "head": cursors[3], "last": cursors[1], "heads": heads,
            "records": [record for _, record in events], "inceptions": inceptions, "seals": seals}


# Verification -----------------------------------------------------------------------------------------------------------


def cortex_of(root):
    return sha256(b"antiphon cortex v1", root)[:16]


def check_certificate(root, number, working, ends, signature):
    small = Reader(number).unsigned()
    expect(small > 0, "the number of a key statement is 0")
    signed = b"antiphon key statement 1" + b"\x01" + root + number + working + ends
    expect(verifies(root, signed, signature), "a key statement is not signed by its root key")


def check_statement(data, cortex):
    """A key statement, as it is in an identity."""
    r = Reader(data)
    expect(r.byte() == 1, "a key statement has an unknown version")
    root, begin = r.raw(32), r.at
    r.unsigned()
    number, working, ends = data[begin : r.at], r.raw(32), r.at
    r.list(lambda: (r.unsigned(), r.unsigned(), r.raw(32)))
    ends = sha256(data[ends : r.at])
    expect(cortex_of(root) == cortex, "the root key gives another cortex id")
    check_certificate(root, number, working, ends, r.raw(64))


def begin(origin, inception, log):
    """The digest before the first event of an origin, and the key that seals it."""
    r = Reader(inception)
    expect(r.byte() == 2, "an inception has an unknown version")
    of_log, epoch, root, at = r.raw(16), r.unsigned(), r.raw(32), r.at
    r.unsigned()
    number, working, ends = inception[at : r.at], r.raw(32), r.raw(32)
    check_certificate(root, number, working, ends, r.raw(64))
    expect(of_log == log, "an inception is of another log")
    expect(cortex_of(root) + struct.pack(">Q", epoch) == origin, "an inception is another origin's")
    return sha256(b"antiphon inception 2", inception), working


class Chain:
    def __init__(self, digest, key):
        self.counter, self.digest, self.key, self.id, self.clock = 0, digest, key, bytes(16), {}


class Log:
    def __init__(self):
        self.chains, self.events, self.groups, self.within = {}, 0, 0, None

    def part(self, r, length, state):
        """The hash of a part of a record, whether it is there or not."""
        if state == 0:
            return sha256(r.raw(length))
        digest = r.raw(32)
        if state == 2:
            r.raw(24), r.unsigned()
        return digest

    def record(self, data, inceptions, seals, log):
        r = Reader(data)
        version, _, flags, id_, origin, counter = r.byte(), r.byte(), r.byte(), r.raw(16), r.raw(24), r.unsigned()
        expect(version >= 2, "a record has version 1")
        deps = r.list(lambda: (r.raw(24), r.unsigned()))
        lengths = r.unsigned(), r.unsigned()
        routing, presence = data[: r.at], r.byte()
        attributes, body = self.part(r, lengths[0], presence & 3), self.part(r, lengths[1], presence >> 2)
        name = f"{origin.hex()}:{counter}"
        if counter == 1:
            expect(origin in inceptions, f"{name} comes without an inception")
            self.chains[origin] = Chain(*begin(origin, inceptions[origin], log))
        chain = self.chains.get(origin)
        expect(chain and chain.counter + 1 == counter and chain.id < id_, f"{name} does not follow on its chain")
        expect(self.within in (None, origin) and not (self.within and deps), f"{name} breaks a group")
        for cause, seen in deps:
            held = self.chains.get(cause)
            expect(held and held.counter >= seen, f"{name} comes before its cause")
            chain.clock[cause] = seen
        chain.digest = sha256(b"antiphon/2", chain.digest, routing, attributes, body)
        chain.counter, chain.id, self.events = counter, id_, self.events + 1
        self.within = None if flags & 1 else origin
        if flags & 1:
            clock = sha256(*(of + struct.pack(">Q", seen) for of, seen in sorted(chain.clock.items())))
            sealed = b"antiphon seal 2" + origin + struct.pack(">Q", counter) + chain.digest + id_ + clock
            expect(seals, f"{name} ends a group without a seal")
            expect(verifies(chain.key, sealed, seals.pop(0)), f"{name} is not what its owner sealed")
            self.groups += 1

    def take(self, answer):
        seals = list(answer["seals"])
        for record in answer["records"]:
            self.record(record, answer["inceptions"], seals, answer["log"])
        expect(not seals and self.within is None, "the seals are not those of the groups")
        for origin, counter, digest in answer["heads"]:
            chain = self.chains.get(origin)
            if chain and chain.counter == counter:
                expect(chain.digest == digest, f"the head of {origin.hex()} is another one")

    def digest(self):
        heads = (of + struct.pack(">Q", chain.counter) + chain.digest for of, chain in sorted(self.chains.items()))
        return sha256(*heads)


# The node ---------------------------------------------------------------------------------------------------------------

MASK = 2**64 - 1
# The first bytes of XXH3's own secret: as many as a body of 17 to 64 bytes takes.
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
)


def checksum(body):
    """XXH3-128 of 17 to 64 bytes, seed 0, big-endian."""
    expect(17 <= len(body) <= 64, "this client sends one short question")
    word = lambda data, at: struct.unpack_from("<Q", data, at)[0]
    prime = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63)

    def mix(data, at, secret):
        product = (word(data, at) ^ word(SECRET, secret)) * (word(data, at + 8) ^ word(SECRET, secret + 8))
        return (product & MASK) ^ product >> 64

    def mix32(low, high, first, second, secret):
        low = (low + mix(body, first, secret) & MASK) ^ (word(body, second) + word(body, second + 8) & MASK)
        high = (high + mix(body, second, secret + 16) & MASK) ^ (word(body, first) + word(body, first + 8) & MASK)
        return low & MASK, high & MASK

    def avalanche(value):
        value ^= value >> 37
        value = value * 0x165667919E3779F9 & MASK
        return value ^ value >> 32

    size = len(body)
    low, high = size * prime[0] & MASK, 0
    for part in range((size - 1) // 32, -1, -1):
        low, high = mix32(low, high, 16 * part, size - 16 * (part + 1), 32 * part)
    first, second = low + high & MASK, (low * prime[0] + high * prime[3] + size * prime[1]) & MASK
    return struct.pack(">QQ", -avalanche(second) & MASK, avalanche(first))


def from_ulid(text):
    number = 0
    for character in text:
        number = number << 5 | "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    return number.to_bytes(16, "big")


def verify_node(url, ca, key):
    context = ssl.create_default_context(cafile=ca) if url.startswith("https:") else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(path, data=None):
        kind = {"Content-Type": "application/vnd.antiphon.frame"} if data else {}
        request = urllib.request.Request(url + path, data, headers | kind)
        return urllib.request.urlopen(request, context=context, timeout=60)

    identity = json.load(ask("/v1/identity"))
    server = from_ulid(identity["cortex_id"])
    check_statement(base64.b64decode(identity["statement"]), server)
    # Process 7, question 1, epoch 0, no log, protocol 2, SHA-256, no cursor, nothing known, 4,096 events, 1 MiB, no wait, until caught up.
    body = b"\x07\x01" + os.urandom(16) + b"\x00" + server + b"\x00\x02\x02\x00\x00\x00\x00" + b"\xfb\x00\x10" + b"\xfc\x00\x00\x10\x00"
    body += b"\x00\x01\x00" + b"\x00\x00\x00\x00\x00"
    frame = b"AN\x02\x01" + struct.pack(">I", len(body)) + checksum(body) + body
    log, reached = Log(), 0
    with ask("/v1/fetch", frame) as answer:
        while header := answer.read(24):
            expect(header[:3] == b"AN\x02", "this is no frame of version 2")
            data = answer.read(struct.unpack(">I", header[4:8])[0])
            expect(header[3] == 2, f"the node refuses with number {data[0]}")
            part = batch(data)
            expect(part["server"] == server, "another cortex answers")
            log.take(part)
            reached = part["last"][1]
    expect(reached >= int(identity["head"].split("-")[1]), "the answer ends before the head")
    return log


def verify_vectors(folder):
    frame = json.loads((folder / "batch.json").read_text())["frame"]
    answer = batch(bytes.fromhex(frame)[24:])
    # Its second event depends on an origin that is not in the batch.
    log = Log()
    log.chains[bytes([2] * 16 + [2] + [0] * 6 + [5])] = other = Chain(bytes(32), bytes(32))
    other.counter = 9
    log.take(answer)
    for frame in json.loads((folder / "frame.json").read_text())["valid"]:
        data = bytes.fromhex(frame["frame"])
        if 17 <= len(data) - 24 <= 64:
            expect(checksum(data[24:]) == data[8:24], f"checksum: {frame['name']}")
    for statement in json.loads((folder / "statement.json").read_text())["valid"]:
        check_statement(bytes.fromhex(statement["statement"]), bytes.fromhex(statement["cortex"]))
    return log


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="the node, such as https://localhost:7443")
    parser.add_argument("--ca", help="the authority of the node's certificate (PEM)")
    parser.add_argument("--key", help="the shared key; none in open mode")
    parser.add_argument("--vectors", type=Path, metavar="FOLDER", help="verify the test vectors in a folder instead")
    given = parser.parse_args()
    if not given.vectors and not given.url:
        parser.error("name a node, or --vectors with a folder")
    try:
        log = verify_vectors(given.vectors) if given.vectors else verify_node(given.url.rstrip("/"), given.ca, given.key)
    except Invalid as invalid:
        sys.exit(f"not valid: {invalid}")
    except OSError as error:
        sys.exit(f"the node cannot be read: {error}")
    print(f"valid: {log.events} events, {log.groups} groups, {len(log.chains)} origins, digest {log.digest().hex()}")


if __name__ == "__main__":
    main()
