"""The commands' way to Temporal."""

from typing import Final

from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from domain.errors import Unavailable
from domain.identifiers import DealId
from starters.cli.session import command_store, records
from starters.control.chains import ChainDesk
from starters.control.desk import DealDesk
from starters.control.dry_runs import DryRunDesk
from starters.control.giving import Giving
from starters.deals.client import DealClient
from starters.deals.database import single_connection
from workers.runtime.connect import connect, silent_runtime
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import ClientSettings
from workflows.deal.workflow import workflow_id

_DEFAULT_NAMESPACE: Final = "default"


async def open_client() -> DealClient:
    """Connect to Temporal; raises `Unavailable`."""
    return DealClient(await connected())


def open_desk(settings: ClientSettings) -> DealDesk:
    """What people do with deals; it connects when it is asked."""
    return DealDesk(open_client, records(settings), command_store(settings))


def open_chain_desk(settings: ClientSettings) -> ChainDesk:
    """What people do for chains; it connects when it is asked."""
    profiles = load_profiles(settings.config_dir)
    return ChainDesk(Giving(connected, command_store(settings)), profiles)


def open_dry_runs(settings: ClientSettings) -> DryRunDesk:
    """Dry runs; it connects when it is asked."""
    return DryRunDesk(connected, single_connection(settings.database_url.get_secret_value()))


async def connected() -> Client:
    """Connect to Temporal for a command; raises `Unavailable`."""
    return await connect(runtime=silent_runtime())


async def open_client_if_up() -> DealClient | None:
    """Connect to Temporal; None if it does not answer."""
    try:
        return await open_client()
    except Unavailable:
        return None


def web_link(settings: ClientSettings, deal_id: DealId) -> str | None:
    """Return the address of the deal's workflow in the Web UI; None if no Web UI is known."""
    if settings.web_ui is None:
        return None
    namespace = ClientConfig.load_client_connect_config().get("namespace") or _DEFAULT_NAMESPACE
    return f"{settings.web_ui.rstrip('/')}/namespaces/{namespace}/workflows/{workflow_id(deal_id)}"
