"""What the commands need from outside: environment, settings and the records."""

import os

from starters.deals.chains import ChainsReader
from starters.deals.database import single_connection
from starters.deals.reading import RecordsReader
from starters.deals.transactions import TransactionsReader
from workers.runtime.settings import ClientSettings, ConfigSettings


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
