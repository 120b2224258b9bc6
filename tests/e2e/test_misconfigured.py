"""A chain worker with a wrong node or a wrong manifest denies deals, and nothing is signed."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.control.admissions import Admissions
from activities.deals.records import Records
from activities.halts.standing import Halts, Releases
from starters.deals.client import DealClient
from starters.local import anvil, postgres
from starters.local.workers import keystore_file, passphrase_file
from tests.e2e.test_denied import Untouched
from tests.support.commands import deal
from tests.support.desk import Desk, start
from tests.support.namespace import fresh_namespace, polling
from workers import chain, signer
from workers.runtime.failures import FailureInterceptor
from workers.runtime.health import Health
from workers.runtime.process import database_pool
from workers.runtime.settings import DEFAULT_CONFIG_DIR, ChainWorkerSettings, SignerSettings
from workflows.deal import options
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the configuration, to be spoilt."""
    return Path(shutil.copytree(DEFAULT_CONFIG_DIR, tmp_path / "config"))


def name_node(config: Path, url: str) -> None:
    """Have the profile of chain 138 name this node."""
    file = config / "138.toml"
    text = file.read_text().replace('"http://127.0.0.1:8545"', f'"{url}"')
    assert url in text
    file.write_text(text)


@asynccontextmanager
async def desk_with(desk: Desk, config: Path) -> AsyncIterator[DealClient]:
    """Deals on the stack's servers, but with a chain worker of this configuration."""
    folder, client = desk.stack.folder, await fresh_namespace(desk.stack)
    chain_settings = ChainWorkerSettings.model_validate(
        {
            "database_url": postgres.url(folder, "deal_engine"),
            "treasury_address": desk.treasury,
            "config_dir": config,
        }
    )
    signer_settings = SignerSettings.model_validate(
        {
            "environment": "development",
            "database_url": postgres.url(folder, "deal_signer"),
            "key_provider": "local",
            "keystore_file": keystore_file(folder),
            "keystore_passphrase_file": passphrase_file(folder),
        }
    )
    health = Health("test", "0")
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            database_pool(postgres.url(folder, "deal_records"), size=2)
        )
        deals = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[DealWorkflow],
            activities=[
                Records(pool).record_deal,
                Admissions(pool).admit_deal,
                Releases(Halts(pool)).ensure_active,
            ],
            workflow_runner=UnsandboxedWorkflowRunner(),  # so that time limits can be shortened
            interceptors=[FailureInterceptor()],
        )
        chains = await chain.build(chain_settings, [138], client, stack, health)
        signers = await signer.build(signer_settings, client, stack, health)
        await stack.enter_async_context(polling([deals, *chains, *signers]))
        yield DealClient(client)


async def test_a_node_of_another_chain_is_told_by_its_id(desk: Desk, config: Path) -> None:
    name_node(config, anvil.url(desk.node(651940).port))
    untouched = Untouched(desk)
    async with desk_with(desk, config) as deals:
        view = await start(desk.stack, deals, desk.request())
    untouched.check(view)
    assert view.problem is not None
    assert (view.problem.code, view.problem.field) == ("invalid_configuration", "chain_id")
    assert (view.problem.limit, view.problem.actual) == ("138", "651940")
    assert view.problem.next_action == "correct DEAL_CHAIN_138_ENDPOINTS"


async def test_an_address_without_a_contract_is_named(desk: Desk, config: Path) -> None:
    name_node(config, anvil.url(desk.node().port))
    manifest = config / "138.addresses.json"
    addresses = json.loads(manifest.read_text())
    addresses["contracts"]["redemption"] = desk.treasury
    manifest.write_text(json.dumps(addresses))
    untouched = Untouched(desk)
    async with desk_with(desk, config) as deals:
        view = await start(desk.stack, deals, desk.request())
    untouched.check(view)
    assert view.problem is not None
    assert view.problem.code == "invalid_configuration"
    assert (view.problem.field, view.problem.value) == ("addresses.redemption", desk.treasury)


async def test_without_a_node_a_deal_is_denied_when_the_time_is_up(
    desk: Desk, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = timedelta(seconds=3)
    monkeypatch.setitem(options.ADMISSION, "schedule_to_close_timeout", limit)
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        name_node(config, anvil.url(closed.getsockname()[1]))
        untouched = Untouched(desk)
        async with desk_with(desk, config) as deals:
            view = await start(desk.stack, deals, desk.request())
    untouched.check(view)
    assert view.problem is not None
    assert (view.problem.code, view.problem.field) == ("unavailable", "endpoints")
    assert view.updated_at - view.created_at < 2 * limit


async def test_nothing_is_wrong_with_the_stack_as_it_is(desk: Desk) -> None:
    checked = await deal(desk.stack, "config", "check")
    wrong = [check for check in checked.document["checks"] if not check["ok"]]
    assert (wrong, checked.code) == ([], 0)
