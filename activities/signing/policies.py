"""Which policy is in force: the newest that a signer has started with, kept in the database."""

from typing import Final

import psycopg

from activities.database import Pool, connected
from activities.signing.rules import SigningPolicy
from domain.errors import InvalidConfiguration

_ADD: Final = """
INSERT INTO signing.policies (version, digest, content) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""
_KNOWN: Final = """
SELECT digest, (SELECT max(version) FROM signing.policies) FROM signing.policies WHERE version = %s
"""


async def put_in_force(pool: Pool, policy: SigningPolicy) -> bool:
    """Have the database take decisions by this policy only; return whether it is new to it.

    Raises `InvalidConfiguration` if it is older than the newest there has been, or the same version
    with other rules, and `Unavailable`. From then on signers with an older one sign nothing.
    """
    try:
        async with connected(pool) as connection:
            row = (policy.version, policy.digest, policy.content)
            added = (await connection.execute(_ADD, row)).rowcount
            cursor = await connection.execute(_KNOWN, (policy.version,))
            known = await cursor.fetchone()
    except psycopg.IntegrityError as error:  # the trigger's: there is a newer one
        raise _wrong(policy, "at least the newest version there has been", None) from error
    if known is None or known[0] != policy.digest:
        known_as = known[0] if known else "another version"
        raise _wrong(policy, f"the rules that it had before, {known_as}", policy.digest)
    if known[1] > policy.version:
        raise _wrong(policy, f"at least {known[1]}, the newest there has been", None)
    return bool(added)


def _wrong(policy: SigningPolicy, limit: str, actual: str | None) -> InvalidConfiguration:
    return InvalidConfiguration(
        "this version of the signing policy is not the one that is in force",
        field="signing-policy.toml: version",
        value=policy.version,
        limit=limit,
        actual=actual,
        next_action="give the file that was approved; one that was changed needs a higher version",
    )
