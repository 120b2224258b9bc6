"""The same request again gets the same answer: what was answered is kept under the caller's key.

What keeps an effect from happening twice is the command's id, which is derived from the key; the
answers here only spare the second asking. So an answer may be lost with the process that gave it.
"""

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import psycopg
import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg.rows import dict_row

from domain.errors import Unavailable
from domain.identity import PrincipalId
from starters.api.refusals import BadRequest, KeyReused, RequestInProgress
from starters.deals.database import Connections

_log = structlog.get_logger(__name__)

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEY_FORM: Final = r"[!-~]{16,128}"
_KEY: Final = re.compile(KEY_FORM)
_NONCE_BYTES: Final = 12
_FORGET_SECONDS: Final = 3600

_CLAIM: Final[LiteralString] = """
INSERT INTO control.requests AS held (principal_id, key_hash, request_digest, holder, held_until)
VALUES (%(who)s, %(key)s, %(digest)s, %(holder)s, clock_timestamp() + %(lease)s * interval '1 s')
ON CONFLICT (principal_id, key_hash) DO UPDATE
    SET holder = excluded.holder, held_until = excluded.held_until
    WHERE held.request_digest = excluded.request_digest AND held.status IS NULL
        AND (held.holder IS NULL OR held.held_until < clock_timestamp())
RETURNING holder
"""
_FIND: Final[LiteralString] = """
SELECT request_digest, status, answer FROM control.requests
WHERE principal_id = %(who)s AND key_hash = %(key)s
"""
_ANSWER: Final[LiteralString] = """
UPDATE control.requests SET status = %(status)s, answer = %(answer)s, holder = NULL,
    held_until = NULL
WHERE principal_id = %(who)s AND key_hash = %(key)s AND holder = %(holder)s
"""
_LET_GO: Final[LiteralString] = """
UPDATE control.requests SET holder = NULL, held_until = NULL
WHERE principal_id = %(who)s AND key_hash = %(key)s AND holder = %(holder)s
"""
_FORGET: Final[LiteralString] = """
DELETE FROM control.requests WHERE created_at < clock_timestamp() - interval '24 hours'
    AND (held_until IS NULL OR held_until < clock_timestamp())
"""


@dataclass(frozen=True)
class Given:
    """An answer that was given before."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Held:
    """A request that is this process's to answer."""

    who: PrincipalId
    key: str
    holder: UUID

    @property
    def command_id(self) -> str:
        """The id of the command that the request gives; the same key gives the same one."""
        return command_id(self.who, self.key)


def command_id(who: PrincipalId, key: str) -> str:
    """Derive a command's id from its caller and his key."""
    return f"api-{hashlib.sha256(f'{who}/{key}'.encode()).hexdigest()[:40]}"


def parse_key(text: str | None) -> str:
    """Check the header; raise `BadRequest` unless it holds a key."""
    if text is not None and _KEY.fullmatch(text):
        return text
    raise BadRequest(
        f"{HEADER} is missing" if text is None else f"{HEADER} is no key",
        field=HEADER,
        limit="16 to 128 printable characters without blanks, such as a UUID",
        next_action="choose a new key for each change, and repeat it when you repeat the request",
    )


def digest(method: str, target: str, body: bytes, condition: str = "") -> str:
    """SHA-256 (hexadecimal) over what is asked for; JSON is the same however it is written."""
    try:
        told: Any = json.loads(body) if body else None
    except ValueError:  # also what is no UTF-8
        told = body.hex()
    text = json.dumps([method, target, condition, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Requests:
    """The table `control.requests`. Every method raises `Unavailable`."""

    def __init__(self, connections: Connections, lease_seconds: float) -> None:
        """Use connections of the role ``deal_control``."""
        self._connections = connections
        self._lease = lease_seconds

    async def claim(self, who: PrincipalId, key: str, request_digest: str) -> Held | Given:
        """Take a request on, or return what it was answered before.

        Raises `KeyReused` if the key was used for something else, and `RequestInProgress`.
        """
        held = Held(who, key, uuid4())
        claim = _names(held) | {"digest": request_digest, "lease": self._lease}
        if await self._row(_CLAIM, claim) is not None:
            return held
        first = await self._row(_FIND, _names(held))
        if first is None:  # it was forgotten between the two
            return await self.claim(who, key, request_digest)
        if first["request_digest"] != request_digest:
            raise _reused(key)
        if first["status"] is None:
            raise _in_progress(key)
        return _opened(held, first["status"], first["answer"])

    async def keep(self, held: Held, given: Given) -> None:
        """Keep an answer for whoever asks again within a day."""
        await self._row(
            _ANSWER, _names(held) | {"status": given.status, "answer": _sealed(held, given)}
        )

    async def let_go(self, held: Held) -> None:
        """Have the request answered anew when it is repeated."""
        await self._row(_LET_GO, _names(held))

    async def forget_old(self) -> None:
        """Remove the answers of more than a day ago, now and every hour, for ever."""
        while True:
            try:
                await self._row(_FORGET, {})
            except Unavailable as error:
                _log.warning("old answers are kept for now", **error.problem.model_dump())
            await asyncio.sleep(_FORGET_SECONDS)

    async def _row(self, statement: LiteralString, values: dict[str, Any]) -> dict[str, Any] | None:
        try:
            async with (
                self._connections() as connection,
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                await cursor.execute(statement, values)
                return await cursor.fetchone() if cursor.description else None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable(
                "nothing can be changed now: the control database does not answer",
                field="DEAL_CONTROL_DATABASE_URL",
                actual=type(error).__name__,
                next_action="repeat the request with the same key",
            ) from error


def _names(held: Held) -> dict[str, Any]:
    hashed = hashlib.sha256(held.key.encode()).hexdigest()
    return {"who": held.who, "key": hashed, "holder": held.holder}


def _sealed(held: Held, given: Given) -> bytes:
    """Encrypt an answer, which may hold a new API key, so that only the key's holder reads it."""
    told = json.dumps([given.headers, given.body.decode()]).encode()
    nonce = uuid4().bytes[:_NONCE_BYTES]
    return nonce + _cipher(held).encrypt(nonce, told, held.who.encode())


def _opened(held: Held, status: int, answer: bytes) -> Given:
    nonce, sealed = answer[:_NONCE_BYTES], answer[_NONCE_BYTES:]
    headers, body = json.loads(_cipher(held).decrypt(nonce, sealed, held.who.encode()))
    return Given(status, headers, body.encode())


def _cipher(held: Held) -> AESGCM:
    derived = HKDF(SHA256(), 32, salt=held.who.encode(), info=b"deal-api answer")
    return AESGCM(derived.derive(held.key.encode()))


def _reused(key: str) -> KeyReused:
    return KeyReused(
        f"this {HEADER} was used for another request",
        field=HEADER,
        value=key,
        limit="one request a key",
        next_action="choose a new key; the first request stands",
    )


def _in_progress(key: str) -> RequestInProgress:
    return RequestInProgress(
        "the same request is being worked on",
        field=HEADER,
        value=key,
        limit="one at a time",
        next_action="repeat it in a few seconds with the same key",
    )
