"""PostgreSQL: logical replication of one table from one cluster to another. No TLS; the subscription applies with the
default `synchronous_commit = off`, so it does not wait for its disk."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from processes import Deadline, Failed, Skipped, check_alive, directory, free_ports, run, server
from results import Figure, Row

# Rows of one transaction, as a busy application would group them; each is applied as one.
TRANSACTION = 500
# Users that may run it where this program runs as root, which PostgreSQL refuses to.
USERS = ("postgres", "nobody")
# Large data is not compressed either: the others do not.
TABLE = """create table events (seq bigint primary key, id uuid not null, data bytea not null);
alter table events alter data set storage external"""
# No checkpoint within a round, and as much memory as it likes for so few rows. A subscription that is enabled again
# begins at once, and not after five idle seconds, which is not what it is measured for.
CONFIG = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
wal_level = logical
max_wal_size = 8GB
shared_buffers = 512MB
wal_retrieve_retry_interval = 50ms
"""


class Postgres:
    name = "postgres"

    def __init__(self, binaries: str | None) -> None:
        self.binaries = binaries

    def rows(self) -> list[Row]:
        return [Row("postgres", "PostgreSQL, logical replication", "no", "no")]

    def measure(self, events: int, size: int, deadline: Deadline) -> dict[str, Figure]:
        binaries, user = find_binaries(self.binaries), find_user()
        ports = free_ports(2)
        with directory(user.pw_uid if user else None) as place, contextlib.ExitStack() as running:
            start = [
                running.enter_context(cluster(binaries, user, place / name, port, deadline))
                for name, port in zip(("publisher", "subscriber"), ports)
            ]
            return {"postgres": Figure(events, events / replicate(*start, events, size))}

    def version(self) -> str:
        return run([str(find_binaries(self.binaries) / "postgres"), "--version"], Deadline(10)).strip()


def find_binaries(given: str | None) -> Path:
    """Where `initdb`, `postgres` and `psql` stand: Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))
    places = [Path(given)] if given else [*([Path(on_path).parent] if on_path else []), *reversed(known)]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "psql")):
            return place
    raise Skipped("there is no initdb, postgres and psql (Debian: postgresql)")


def find_user() -> pwd.struct_passwd | None:
    """Who is to run it: this user, or somebody else where this one is root."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Skipped(f"it does not run as root, and there is no user {' or '.join(USERS)}")


def as_user(user: pwd.struct_passwd | None, place: Path) -> dict:
    """What makes a program run as a user, in a directory that the user may enter."""
    if user is None:
        return {"cwd": place}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": place}


class Cluster:
    """A running cluster, and how to talk to it. Loopback is for everybody on the machine, so it asks for a password."""

    def __init__(self, psql: Path, port: int, password: str, deadline: Deadline) -> None:
        self.psql, self.port, self.password, self.deadline = psql, port, password, deadline

    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=bench dbname=postgres"

    def ask(self, *statements: str) -> str:
        """The answer to the last of some statements, each a transaction of its own."""
        limit = f"set statement_timeout = '{self.deadline.left():.0f}s'"
        command = [str(self.psql), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.address()]
        environment = {**os.environ, "PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "5"}
        said = run(command, self.deadline, ";\n".join([limit, *statements]) + ";\n", env=environment)
        return said.strip()


@contextlib.contextmanager
def cluster(
    binaries: Path, user: pwd.struct_passwd | None, place: Path, port: int, deadline: Deadline
) -> Iterator[Cluster]:
    """A new cluster that runs for as long as the block."""
    password, parent = secrets.token_hex(16), place.parent
    options = as_user(user, parent)
    secret = parent / f"{place.name}.password"
    secret.write_text(password)
    secret.chmod(0o600)
    if user:
        os.chown(secret, user.pw_uid, user.pw_gid)
    initdb = [str(binaries / "initdb"), "-D", str(place), "-U", "bench", "-A", "scram-sha-256", "--pwfile", str(secret)]
    # A round is over before a crash could matter to anybody: no need to sync what was just made.
    run([*initdb, "-E", "UTF8", "--locale", "C", "--no-sync"], deadline, **options)
    with (place / "postgresql.conf").open("a") as config:
        config.write(CONFIG.format(port=port))
    log = parent / f"{place.name}.log"
    # SIGQUIT ends it at once. Nothing of it is wanted any more.
    with server([str(binaries / "postgres"), "-D", str(place)], log, signal.SIGQUIT, **options) as process:
        running = Cluster(binaries / "psql", port, password, deadline)
        while True:
            check_alive(process, log)
            with contextlib.suppress(Failed):
                running.ask("select 1")
                break
            deadline.left()
            time.sleep(0.1)
        yield running


def replicate(publisher: Cluster, subscriber: Cluster, events: int, size: int) -> float:
    """Fills a table while nobody reads it, lets it be copied, and returns the seconds that the copy took."""
    publisher.ask(TABLE, "create publication bench for table events")
    connection = f"{publisher.address()} password={publisher.password}"
    subscriber.ask(TABLE, f"create subscription bench connection '{connection}' publication bench")
    # Else the rows would be copied as a table, and not as what was written to it.
    subscriber.ask(wait("(select bool_and(srsubstate in ('r', 's')) from pg_subscription_rel)"))
    subscriber.ask("alter subscription bench disable")
    subscriber.ask(wait("not exists (select from pg_stat_subscription where pid is not null)"))
    fill(publisher, events, size)
    seconds = copied(subscriber, events)
    check(publisher, subscriber, events)
    return seconds


def wait(condition: str) -> str:
    """A statement that waits. Asking from outside again and again would take the processor from what is measured."""
    return f"do $$ begin while ({condition}) is not true loop perform pg_sleep(0.01); end loop; end $$"


def copied(subscriber: Cluster, events: int) -> float:
    """Lets the table be copied, in one session, and returns the seconds that it took by the server's clock."""
    said = subscriber.ask(
        "create temp table ordered as select clock_timestamp() as at",
        "alter subscription bench enable",
        wait(f"(select max(seq) from events) = {events}"),
        "select extract(epoch from clock_timestamp() - at) from ordered",
    )
    return float(said)


def fill(publisher: Cluster, events: int, size: int) -> None:
    # 16 bytes a digest.
    data = f"substring(decode(repeat(md5(random()::text), {size // 16 + 1}), 'hex') for {size})"
    publisher.ask(
        # What fills it is not measured, and need not wait for the disk.
        "set synchronous_commit = off",
        f"""do $$ begin
        for start in 1..{events} by {TRANSACTION} loop
            insert into events select seq, gen_random_uuid(), {data}
                from generate_series(start, least(start + {TRANSACTION - 1}, {events})) seq;
            commit;
        end loop; end $$""",
        # Only what is on the disk is sent: the last rows would wait there for a fifth of a second.
        "checkpoint",
    )


def check(publisher: Cluster, subscriber: Cluster, events: int) -> None:
    """That the copy holds all of it: as many rows as were written, and what was in them."""
    digest = "sum(hashtextextended(id::text || encode(data, 'hex'), 0)::numeric)"
    question = f"select count(*), sum(seq), {digest} from events"
    written, held = publisher.ask(question), subscriber.ask(question)
    if held != written or int(held.split("|")[0]) != events:
        raise Failed(f"the copy holds other rows ({held}) than were written ({written})")
