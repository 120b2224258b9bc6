"""Versions of the deal policy: looked at, proposed by one person, put in force by another.

A change says which version it is based on, by its tag; based on another one than what is in force
it is refused. The database holds all of it as well, whoever writes there.
"""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import psycopg
from pydantic import BaseModel, ConfigDict

from domain.denials import Denial
from domain.errors import Conflict, InvalidConfiguration, NotFound, Outdated, PolicyDenied
from domain.identity import Caller, Permission
from domain.policy import DealPolicy, wrong
from domain.policy_lint import lint
from starters.control.database import ControlDatabase
from starters.deals.database import Connections, fetch

POLICY_FILE: Final = "deal-policy.toml"

_COLUMNS: Final = (
    "SELECT version, digest, content, based_on, state, proposed_by, proposed_at, why, approved_by,"
    " rejected_by, decided_at, decided_why, retired_at FROM control.policies"
)
_ALL: Final = _COLUMNS + " ORDER BY version DESC LIMIT 500"
_ACTIVE: Final = _COLUMNS + " WHERE state = 'ACTIVE'"
_ONE: Final = _COLUMNS + " WHERE version = %s"
ADD: Final = """
INSERT INTO control.policies (version, digest, content, based_on, state, proposed_by, why)
VALUES (%(version)s, %(digest)s, %(content)s, %(based_on)s, %(state)s, %(who)s, %(why)s)
"""
_RETIRE: Final = """
UPDATE control.policies SET state = 'RETIRED', retired_at = clock_timestamp()
WHERE state = 'ACTIVE'
"""
_APPROVE: Final = """
UPDATE control.policies SET state = 'ACTIVE', approved_by = %s, decided_at = clock_timestamp(),
    decided_why = %s WHERE version = %s
"""
_REJECT: Final = """
UPDATE control.policies SET state = 'REJECTED', rejected_by = %s, decided_at = clock_timestamp(),
    decided_why = %s WHERE version = %s
"""


class PolicyRecord(BaseModel):
    """One version: what it says, and who has proposed and decided it."""

    model_config = ConfigDict(frozen=True)

    policy: DealPolicy
    version: int
    digest: str
    based_on: int | None
    state: str
    proposed_by: str
    proposed_at: datetime
    why: str
    approved_by: str | None
    rejected_by: str | None
    decided_at: datetime | None
    decided_why: str | None
    retired_at: datetime | None

    @property
    def tag(self) -> str:
        """Names this version and what it says: an ETag without its quotes."""
        return f"{self.version}-{self.digest}"


class PolicyBook:
    """All versions. Every method raises `Forbidden` without the permission, and `Unavailable`."""

    def __init__(self, database: ControlDatabase, reading: Connections) -> None:
        """Write by the control database, and read by these connections."""
        self._database = database
        self._reading = reading

    async def active(self, caller: Caller) -> PolicyRecord:
        """Return the version in force. Raises `PolicyDenied` if none was ever installed."""
        caller.require(Permission.POLICY_READ)
        found = await self._records(_ACTIVE)
        if not found:
            raise PolicyDenied.because(
                Denial.NO_POLICY, field="policy", limit="one active version", actual="none"
            )
        return found[0]

    async def find(self, caller: Caller, version: int) -> PolicyRecord:
        """Return one version. Raises `NotFound`."""
        caller.require(Permission.POLICY_READ)
        found = await self._records(_ONE, (version,))
        if not found:
            raise NotFound(
                f"there is no version {version} of the policy",
                field="version",
                value=version,
                next_action="list them with `deal policy list`",
            )
        return found[0]

    async def versions(self, caller: Caller) -> list[PolicyRecord]:
        """Return all versions, the newest first."""
        caller.require(Permission.POLICY_READ)
        return await self._records(_ALL)

    async def install(self, caller: Caller, policy: DealPolicy, why: str) -> PolicyRecord:
        """Put the first version in force, or return the one in force if there is any already.

        Raises `InvalidConfiguration` for a policy with mistakes.
        """
        caller.require(Permission.POLICY_PROPOSE)
        check(policy)
        present = await self._records(_ACTIVE)
        if present:
            return present[0]
        try:
            await self._add(caller, policy, None, "ACTIVE", why)
        except psycopg.IntegrityError as error:
            # Somebody else was faster, which is as good.
            if error.diag.constraint_name not in {"policy_proposed_first", "policies_pkey"}:
                raise
        return await self.active(caller)

    async def propose(
        self, caller: Caller, policy: DealPolicy, *, based_on: str, why: str
    ) -> PolicyRecord:
        """Propose a version in place of the one in force, whose tag is `based_on`.

        Raises `Outdated` if another one is in force, `Conflict` for a version that was used, and
        `InvalidConfiguration` for a policy with mistakes.
        """
        caller.require(Permission.POLICY_PROPOSE)
        check(policy)
        in_force = await self.active(caller)
        if in_force.tag != based_on:
            raise _outdated(based_on, in_force.tag)
        try:
            await self._add(caller, policy, in_force.version, "PROPOSED", why)
        except psycopg.IntegrityError as error:
            _refuse(error, policy.version, based_on)
        return await self.find(caller, policy.version)

    async def approve(self, caller: Caller, version: int, *, digest: str, why: str) -> PolicyRecord:
        """Put a proposed version in force; `digest` is of what was looked at.

        Raises `PolicyDenied` to who has proposed it, `Outdated`, `Conflict` and `NotFound`.
        """
        caller.require(Permission.POLICY_APPROVE)
        proposed = await self._proposed(caller, version)
        if proposed.proposed_by == caller.who:
            raise _own_change(proposed)
        if proposed.digest != digest:
            raise _outdated(f"{version}-{digest}", proposed.tag)
        try:
            async with self._database.change(caller, why, action="policy.approve") as connection:
                await connection.execute(_RETIRE)
                await connection.execute(_APPROVE, (caller.who, why, version))
        except psycopg.IntegrityError as error:
            _refuse(error, version, str(proposed.based_on))
        return await self.find(caller, version)

    async def reject(self, caller: Caller, version: int, *, why: str) -> PolicyRecord:
        """Reject a proposed version, or withdraw one's own. Raises `Conflict` and `NotFound`."""
        caller.require(Permission.POLICY_APPROVE)
        proposed = await self._proposed(caller, version)
        try:
            async with self._database.change(caller, why, action="policy.reject") as connection:
                await connection.execute(_REJECT, (caller.who, why, version))
        except psycopg.IntegrityError as error:
            _refuse(error, version, str(proposed.based_on))
        return await self.find(caller, version)

    async def _proposed(self, caller: Caller, version: int) -> PolicyRecord:
        found = await self.find(caller, version)
        if found.state != "PROPOSED":
            raise _decided(version, found.state)
        return found

    async def _add(
        self, caller: Caller, policy: DealPolicy, based_on: int | None, state: str, why: str
    ) -> None:
        parameters = row_of(policy, caller.who, why) | {"based_on": based_on, "state": state}
        action = "policy.install" if based_on is None else "policy.propose"
        async with self._database.change(caller, why, action=action) as connection:
            await connection.execute(ADD, parameters)

    async def _records(self, query: str, parameters: tuple[int, ...] = ()) -> list[PolicyRecord]:
        rows = await fetch(self._reading, query, parameters)
        return [_record(row) for row in rows]


def row_of(policy: DealPolicy, who: str, why: str) -> dict[str, Any]:
    """The row of a version that is installed, which the statement `ADD` adds."""
    return {
        "version": policy.version,
        "digest": policy.digest,
        "content": policy.content,
        "based_on": None,
        "state": "ACTIVE",
        "who": who,
        "why": why,
    }


def read_policy(file: Path) -> DealPolicy:
    """Read a document from a file; raises `InvalidConfiguration` naming the file and the field."""
    try:
        return DealPolicy.parse(tomllib.loads(file.read_text(encoding="utf-8")))
    except InvalidConfiguration as error:
        field = f"{file.name}: {error.problem.field}"
        raise InvalidConfiguration.from_problem(
            error.problem.model_copy(update={"field": field})
        ) from None
    except OSError as error:
        raise wrong(f"{file.name}: file", error.strerror, "a readable file") from None
    except ValueError as error:
        raise wrong(f"{file.name}: file", str(error), "well-formed TOML in UTF-8") from None


def check(policy: DealPolicy) -> None:
    """Raise `InvalidConfiguration` for the first thing that nobody can mean."""
    mistakes = [finding for finding in lint(policy) if finding.is_error]
    if mistakes:
        raise wrong(f"rules.{mistakes[0].rule}", mistakes[0].text, "rules that can decide")


def _record(row: dict[str, Any]) -> PolicyRecord:
    policy = DealPolicy.model_validate_json(row["content"])
    return PolicyRecord(policy=policy, **{k: v for k, v in row.items() if k != "content"})


def _refuse(error: psycopg.IntegrityError, version: int, based_on: str) -> NoReturn:
    """Raise what the database has refused, if something came in between."""
    rule = error.diag.constraint_name
    if rule == "policy_outdated":
        raise _outdated(based_on, error.diag.message_detail) from error
    if rule in {"policy_version_used", "policies_pkey", "policies_digest_key"}:
        raise Conflict(
            f"version {version} of the policy was used before",
            field="version",
            value=version,
            limit="a version higher than any before",
            next_action="give the document a higher version (`deal policy list`)",
        ) from error
    if rule == "policy_decided":
        raise _decided(version, "decided") from error
    raise error


def _outdated(based_on: str, in_force: str | None) -> Outdated:
    return Outdated(
        "the policy has changed since it was looked at",
        field="based_on",
        value=based_on,
        limit=in_force,
        next_action="look at the version in force (`deal policy show`), and propose it anew",
    )


def _own_change(proposed: PolicyRecord) -> PolicyDenied:
    return PolicyDenied.because(
        Denial.POLICY_OWN_CHANGE,
        field="version",
        value=proposed.version,
        limit=f"somebody else than {proposed.proposed_by}",
        actual=proposed.proposed_by,
    )


def _decided(version: int, state: str) -> Conflict:
    return Conflict(
        f"version {version} of the policy is {state}",
        field="version",
        value=version,
        limit="PROPOSED",
        actual=state,
        next_action="look at it with `deal policy show`; propose a new version",
    )
