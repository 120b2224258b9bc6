"""Health probes: one quick question to a server, named by an address that can be stored."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 3.0


class RpcError(Exception):
    """A node answered a JSON-RPC request with an error."""


def answers(probe: str) -> bool:
    """Ask the server at `probe` whether it serves; never raises.

    Addresses: `http://host:port/path` (a 200 answer), `jsonrpc://host:port` (an Ethereum node),
    `redis://host:port`, `tcp://host:port`, `postgresql://...` (a connection is accepted),
    `file:///path` (the file exists).
    """
    try:
        return _PROBES[urlsplit(probe).scheme](probe)
    except (OSError, ValueError, http.client.HTTPException, RpcError):
        return False


def rpc(port: int, method: str, *parameters: object, timeout: float = _TIMEOUT_SECONDS) -> Any:  # noqa: ANN401 - JSON
    """Call a method of the Ethereum node on this loopback port and return its result.

    Raises:
        RpcError: the node answered with an error.
        OSError: no node answered.

    """
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if "error" in answer:
        message = f"{method}: {answer['error'].get('message', answer['error'])}"
        raise RpcError(message)
    return answer["result"]


def _http(probe: str) -> bool:
    parts = urlsplit(probe)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _jsonrpc(probe: str) -> bool:
    port = urlsplit(probe).port
    return port is not None and bool(rpc(port, "eth_blockNumber"))


def _tcp(probe: str) -> bool:
    with _connect(probe):
        return True


def _redis(probe: str) -> bool:
    with _connect(probe) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")  # -LOADING while it reads its file


def _connect(probe: str) -> socket.socket:
    parts = urlsplit(probe)
    return socket.create_connection((parts.hostname, parts.port), _TIMEOUT_SECONDS)


def _postgresql(probe: str) -> bool:
    import psycopg  # noqa: PLC0415 - most commands never need it

    try:
        psycopg.connect(probe, connect_timeout=int(_TIMEOUT_SECONDS)).close()
    except psycopg.OperationalError:
        return False
    return True


def _file(probe: str) -> bool:
    return Path(urlsplit(probe).path).exists()


_PROBES = {
    "http": _http,
    "jsonrpc": _jsonrpc,
    "tcp": _tcp,
    "redis": _redis,
    "postgresql": _postgresql,
    "file": _file,
}
