"""Where key bytes could have ended up: files, tables, histories, and processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from starters.local import postgres
from tests.performance.codec import payloads_in
from tests.support.desk import WITHIN

_CORE_SECONDS = 120
_LOOK_SECONDS = 0.05


def needed_gcore() -> str:
    """The program that takes a core of a running process; in CI its absence is a failure."""
    found = shutil.which("gcore")
    if found:
        return found
    why = "no gcore: install the Debian package gdb"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def files(folder: Path, *, apart_from: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Every file of a folder, sockets and the like left out."""
    left_out = set(apart_from)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file not in left_out:
            try:
                yield str(file.relative_to(folder)), file.read_bytes()
            except FileNotFoundError:  # a database's, which was removed meanwhile
                continue


def tables(url: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table of ours, as text: in the files they may be compressed."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
            " AND table_type = 'BASE TABLE'"
        ).fetchall()
        for schema, name in names:
            rows = connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, name))
            )
            yield f"{schema}.{name}", "\n".join(row[0] for row in rows).encode()


async def histories(client: Client, *known: str) -> list[tuple[str, bytes]]:
    """Every workflow's history as Temporal has it, and as who has the keys reads it.

    Temporal lists a workflow a moment after it has begun: `known` ones are waited for.
    """
    found = []
    codec = client.data_converter.payload_codec
    async with asyncio.timeout(WITHIN):
        while not set(known) <= {each.id async for each in client.list_workflows()}:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(_LOOK_SECONDS)
    async for workflow in client.list_workflows():
        handle = client.get_workflow_handle(workflow.id, run_id=workflow.run_id)
        told = (await handle.fetch_history()).to_json()
        found.append((f"history of {workflow.id}", told.encode()))
        found.append((f"payloads of {workflow.id}", await _decoded(codec, told)))
    return found


async def _decoded(codec: PayloadCodec | None, told: str) -> bytes:
    payloads: list[Payload] = payloads_in(json.loads(told))
    if codec is not None:
        payloads = await codec.decode(payloads)
    return b"\n".join(payload.SerializeToString() for payload in payloads)


def cache(port: int) -> bytes:
    """Everything that Redis holds."""
    with redis.Redis(port=port) as connection:
        return b"\n".join(connection.dump(key) or b"" for key in connection.scan_iter())


def told_of(pid: int) -> Iterator[tuple[str, bytes]]:
    """The command and the environment of a process, as its user sees them."""
    for name in ("cmdline", "environ"):
        yield name, Path(f"/proc/{pid}/{name}").read_bytes()


@contextmanager
def core_of(pid: int, folder: Path) -> Iterator[Path]:
    """A file with the memory of a process, as root takes it; the process goes on."""
    subprocess.run(
        [needed_gcore(), "-o", str(folder / "core"), str(pid)],
        check=True,
        capture_output=True,
        timeout=_CORE_SECONDS,
    )
    file = folder / f"core.{pid}"
    try:
        yield file
    finally:
        file.unlink()


def owner_url(stack: Path) -> str:
    """The database as its owner reaches it."""
    return postgres.url(stack, postgres.OWNER)
