"""What the commands need from outside: environment, settings and the records."""

import os
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from psycopg import AsyncConnection

from domain.errors import NotFound, Unauthenticated
from domain.identifiers import DealId
from domain.masking import remember
from starters.control.commands import CommandStore
from starters.control.database import ControlDatabase
from starters.deals.chains import ChainsReader
from starters.deals.database import single_connection
from starters.deals.reading import RecordsReader
from starters.deals.transactions import TransactionsReader
from workers.runtime.settings import ClientSettings, ConfigSettings

if TYPE_CHECKING:
    from domain.identity import Caller, Permission

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def use_local_stack() -> None:
    """Fill the environment with the local stack's variables where it has none of its own."""
    from starters.local.state import load_environment  # noqa: PLC0415 - not needed in production

    for name, value in load_environment().items():
        os.environ.setdefault(name, value)


def load_settings() -> ClientSettings:
    """Settings of a command that reads the records or talks to Temporal."""
    use_local_stack()
    return ClientSettings.load()


def load_config_settings() -> ConfigSettings:
    """Settings of a command that only looks at the chain profiles."""
    use_local_stack()
    return ConfigSettings.load()


def records(settings: ClientSettings) -> RecordsReader:
    """Return the reader of the records; it connects when it is asked."""
    return RecordsReader(single_connection(settings.database_url.get_secret_value()))


def transactions(settings: ClientSettings) -> TransactionsReader:
    """Return the reader of the engine's records; it connects when it is asked."""
    return TransactionsReader(single_connection(settings.database_url.get_secret_value()))


def chains(settings: ClientSettings) -> ChainsReader:
    """Return the reader of what is known of the chains; it connects when it is asked."""
    return ChainsReader(single_connection(settings.database_url.get_secret_value()))


def command_store(settings: ClientSettings) -> CommandStore:
    """Where commands are written down; who only reads needs no control database."""
    reading = single_connection(settings.database_url.get_secret_value())

    def changing() -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        return single_connection(settings.control_database(), "DEAL_CONTROL_DATABASE_URL")()

    return CommandStore(ControlDatabase(changing), reading)


async def caller(permission: "Permission | None" = None) -> "Caller":
    """Find out who gives the command, and that he may.

    Raises `Unauthenticated` (no credential, or none that counts), `Forbidden` and `Unavailable`.
    """
    who = await known_caller()
    if permission is not None:
        who.require(permission)
    return who


async def known_caller() -> "Caller":
    """Find out whose the credential is that the environment names."""
    settings = load_settings()
    return await authenticate(settings, read_credential(settings.credential_file))


async def authenticate(settings: ClientSettings, credential: str) -> "Caller":
    """Check a credential against the database that the settings name."""
    # Libraries for tokens, which help and completion do without.
    from domain.identity import Via  # noqa: PLC0415
    from starters.access.authentication import authenticator  # noqa: PLC0415
    from starters.access.people import PeopleReader  # noqa: PLC0415

    people = PeopleReader(single_connection(settings.database_url.get_secret_value()))
    return await authenticator(settings, people).authenticate(
        credential, via=Via.CLI, request_id=str(uuid4())
    )


def read_credential(file: Path | None) -> str:
    """Read the caller's credential; raises `Unauthenticated` unless the file is his alone."""
    if file is None:
        raise _no_credential("none is named", None)
    try:
        with file.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise _no_credential("it is open to others than its owner", file)
            credential = opened.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_credential(type(error).__name__, file) from None
    remember(credential)
    return credential


def _no_credential(actual: str, file: Path | None) -> Unauthenticated:
    return Unauthenticated(
        "there is no credential to give commands with",
        field="DEAL_CREDENTIAL_FILE",
        value=file,
        limit="a file of mode 0600 with an API key or a token",
        actual=actual,
        next_action="name your own, or give --as NAME on a local stack",
    )


async def require_deal(who: "Caller", deal_id: DealId, settings: ClientSettings) -> None:
    """Raise `NotFound` for a deal of a bank that is not the caller's, as if it were not there."""
    if who.banks is None:
        return
    found = await records(settings).find(deal_id)
    if found is None or not who.principal.has_bank(found.request.bank):
        raise NotFound(
            f"there is no deal {deal_id}",
            field="deal_id",
            value=deal_id,
            next_action="compare the id with `deal list`",
        )
