"""API keys: whose a key is, and what for, asked of the database at every use.

Nothing is kept between two uses, so that what an admin changes counts at once.
"""

import hashlib
from typing import Any, Final

from domain.errors import Unauthenticated
from domain.identity import Caller, Principal, Via
from starters.deals.database import Connections, fetch

_FIND: Final = """
SELECT key.key_id, key.scopes, control.note_use(key.key_id) AS used,
    jsonb_build_object(
        'principal_id', who.principal_id, 'kind', who.kind, 'roles', who.roles,
        'banks', who.banks, 'max_deal_usd8', who.max_deal_usd8::text, 'groups', who.groups,
        'stands_in', who.stands_in
    ) AS principal
FROM control.api_keys AS key JOIN control.standing AS who USING (principal_id)
WHERE key.hash = %s AND key.revoked_at IS NULL AND key.expires_at > clock_timestamp()
    AND who.disabled_at IS NULL
"""


class ApiKeys:
    """The table `control.api_keys`."""

    def __init__(self, connections: Connections) -> None:
        """Read as the role ``deal_reader``."""
        self._connections = connections

    async def caller(
        self, key: str, via: Via, *, address: str | None = None, request_id: str | None = None
    ) -> Caller:
        """Return whose key this is.

        Raises `Unauthenticated`, which does not say what is wrong with it, and `Unavailable`.
        """
        rows: list[dict[str, Any]] = await fetch(self._connections, _FIND, (key_hash(key),))
        if not rows:
            raise Unauthenticated(
                "the credential is not, or no longer, anybody's",
                field="Authorization",
                limit="a key that is neither expired nor revoked, of somebody who is not disabled",
                next_action="use a valid one, or have an admin make a new one",
            )
        (row,) = rows
        return Caller(
            principal=Principal.model_validate(row["principal"]),
            via=via,
            address=address,
            credential=row["key_id"],
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
            request_id=request_id,
        )


def key_hash(key: str) -> str:
    """SHA-256 (hexadecimal) of a key, which is all that is kept of it."""
    return hashlib.sha256(key.encode()).hexdigest()
