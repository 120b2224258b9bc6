"""What the endpoints work with: readers, clients, limits; made once for the process."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from domain.chains import ChainProfile
from domain.errors import InvalidConfiguration
from domain.identity import Caller
from domain.views import DealView
from starters.access.changes import Users
from starters.access.directory import Directory
from starters.access.people import PeopleReader
from starters.api.connections import Pool, TemporalConnection
from starters.api.events import Followers
from starters.api.idempotency import Requests
from starters.api.limiting import RateLimits
from starters.api.settings import ApiSettings
from starters.cli.temporal import web_link
from starters.control.audit import AuditTrail
from starters.control.batches import Batches
from starters.control.chains import ChainDesk
from starters.control.commands import CommandStore
from starters.control.custody import KeyDesk
from starters.control.database import ControlDatabase
from starters.control.desk import DealDesk
from starters.control.dry_runs import DryRunDesk
from starters.control.giving import Giving
from starters.control.halts import HaltDesk
from starters.control.operations import OperationDesk
from starters.control.policies import PolicyBook
from starters.control.previews import Previews
from starters.control.schedules import ScheduleDesk
from starters.control.transactions import TransactionDesk
from starters.deals.chains import ChainsReader
from starters.deals.client import DealClient
from starters.deals.operations import OperationClient, OperationsReader
from starters.deals.reading import RecordsReader
from starters.deals.transactions import TransactionsReader
from starters.keys.client import KeyClient
from workers.runtime.health import Health
from workers.runtime.profiles import load_profiles


class Authenticate(Protocol):
    """Finds out who a credential belongs to."""

    async def __call__(self, credential: str, *, address: str | None, request_id: str) -> Caller:
        """Return the caller; raises `Unauthenticated` and `Unavailable`."""
        ...


@dataclass
class Services:
    """Everything; nothing is connected before somebody needs it."""

    settings: ApiSettings
    reading: Pool
    changing: Pool
    temporal: TemporalConnection
    limits: RateLimits
    health: Health
    followers: Followers
    authenticate: Authenticate

    @cached_property
    def records(self) -> RecordsReader:
        """The records of deals."""
        return RecordsReader(self.reading.connection)

    @cached_property
    def transactions(self) -> TransactionsReader:
        """The engine's records."""
        return TransactionsReader(self.reading.connection)

    @cached_property
    def chains(self) -> ChainsReader:
        """What is known of the chains."""
        return ChainsReader(self.reading.connection)

    @cached_property
    def operations(self) -> OperationsReader:
        """The records of critical operations."""
        return OperationsReader(self.reading.connection)

    @cached_property
    def requests(self) -> Requests:
        """The answers that were given to requests with a key."""
        return Requests(self.changing.connection, self.settings.api_lease_seconds)

    @cached_property
    def control(self) -> ControlDatabase:
        """The control database."""
        return ControlDatabase(self.changing.connection)

    @cached_property
    def audit(self) -> AuditTrail:
        """The audit trail."""
        return AuditTrail(self.reading.connection, self.control)

    @cached_property
    def desk(self) -> DealDesk:
        """Deals as a caller may see and change them."""
        return DealDesk(self.deals, self.records, self.commands)

    @cached_property
    def transaction_desk(self) -> TransactionDesk:
        """The engine's records as a caller may see them, and acting on what is out."""
        return TransactionDesk(self.desk, self.transactions)

    @cached_property
    def dry_runs(self) -> DryRunDesk:
        """What deals would do, and how they would be decided."""
        return DryRunDesk(self.temporal.client, self.reading.connection)

    @cached_property
    def halts(self) -> HaltDesk:
        """What is halted; it needs Postgres alone."""
        return HaltDesk(self.control, self.reading.connection)

    @property
    def chain_desk(self) -> ChainDesk:
        """What callers may do for the chains that there are profiles of by now."""
        return ChainDesk(Giving(self.temporal.client, self.commands), self.profiles)

    @cached_property
    def policies(self) -> PolicyBook:
        """All versions of the deal policy."""
        return PolicyBook(self.control, self.reading.connection)

    @cached_property
    def commands(self) -> CommandStore:
        """Where commands are written down."""
        return CommandStore(self.control, self.reading.connection)

    @cached_property
    def directory(self) -> Directory:
        """People, keys, groups and delegations as a caller may see them."""
        return Directory(PeopleReader(self.reading.connection))

    @cached_property
    def users(self) -> Users:
        """People, keys, groups and delegations as a caller may change them."""
        return Users(PeopleReader(self.reading.connection), self.control)

    @cached_property
    def key_desk(self) -> KeyDesk:
        """The signer's keys as a caller may see and change them."""
        return KeyDesk(self.keys, self.records, self.commands)

    @cached_property
    def operation_desk(self) -> OperationDesk:
        """Critical operations as a caller may see and change them."""
        return OperationDesk(self.operation_client, self.operations, self.commands)

    @cached_property
    def schedule_desk(self) -> ScheduleDesk:
        """The schedules as a caller may have them kept."""
        return ScheduleDesk(self.temporal.client, self.commands)

    @cached_property
    def batches(self) -> Batches:
        """One command for many deals."""
        return Batches(self.reading.connection, self.control)

    @cached_property
    def previews(self) -> Previews:
        """What such a command would be for, kept until somebody says yes."""
        return Previews(self.batches, self.control)

    @property
    def profiles(self) -> dict[int, ChainProfile]:
        """The profiles by chain id; none where there are no files of them."""
        try:
            return dict(load_profiles(Path(self.settings.config_dir)).items())
        except InvalidConfiguration:
            return {}

    def web_link(self, view: DealView) -> str | None:
        """The deal's page in the Web UI; None if no Web UI is known."""
        return web_link(self.settings, view.request.deal_id)

    async def deals(self) -> DealClient:
        """Talk to the deals' workflows. Raises `Unavailable`."""
        return DealClient(await self.temporal.client())

    async def deals_if_up(self) -> DealClient | None:
        """Likewise; None while Temporal cannot be reached."""
        client = await self.temporal.client_if_up()
        return None if client is None else DealClient(client)

    async def keys(self) -> KeyClient:
        """Talk to the signer by Temporal. Raises `Unavailable`."""
        return KeyClient(await self.temporal.client(), self.records)

    async def operation_client(self) -> OperationClient:
        """Talk to the workflows of critical operations. Raises `Unavailable`."""
        return OperationClient(await self.temporal.client())
