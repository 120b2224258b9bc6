"""Who there is, as a caller may see it: people, keys without secrets, groups, delegations."""

from domain.identity import Caller, Permission
from starters.access.people import (
    DelegationRecord,
    GroupRecord,
    KeyRecord,
    PeopleReader,
    Person,
)


class Directory:
    """The tables of people for callers. Every method raises `Forbidden` and `Unavailable`."""

    def __init__(self, people: PeopleReader) -> None:
        """Read by this reader."""
        self._people = people

    async def everybody(self, caller: Caller) -> list[Person]:
        """All people and services, by name."""
        caller.require(Permission.USERS_READ)
        return await self._people.everybody()

    async def find(self, caller: Caller, principal_id: str) -> tuple[Person, list[KeyRecord]]:
        """One, and their keys. Raises `NotFound`."""
        caller.require(Permission.USERS_READ)
        person = await self._people.get(principal_id)
        return person, await self._people.keys(person.principal_id)

    async def keys(self, caller: Caller, principal_id: str | None) -> list[KeyRecord]:
        """The API keys of one, or of all, the newest first."""
        caller.require(Permission.USERS_READ)
        return await self._people.keys(principal_id)

    async def groups(self, caller: Caller) -> list[GroupRecord]:
        """The groups and who is in them, by name."""
        caller.require(Permission.USERS_READ)
        return await self._people.groups()

    async def delegations(self, caller: Caller) -> list[DelegationRecord]:
        """Who stands in for whom, the newest first; also for those who approve."""
        if not caller.may(Permission.DEALS_APPROVE):
            caller.require(Permission.USERS_READ)
        return await self._people.delegations()
