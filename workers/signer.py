"""The signer worker: ``python -m workers.signer``, and ``init`` to make its key store ready.

The one process with access to keys. It has its own database role, polls only the queue ``signer``
and talks to no node.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from activities.custody.keys import Custody
from activities.database import Pool
from activities.signing.policies import put_in_force
from activities.signing.providers.open import open_keys
from activities.signing.providers.provider import FEE, TREASURY, KeyProvider
from activities.signing.rules import SigningPolicy
from activities.signing.signer import Signer
from domain.errors import DealError, NotFound
from domain.identifiers import Address
from workers.runtime import checks
from workers.runtime.failures import FailureInterceptor
from workers.runtime.health import Health
from workers.runtime.heartbeats import HEARTBEAT_THROTTLE, HeartbeatInterceptor
from workers.runtime.memory import clear_freed_memory, refuse_dumps
from workers.runtime.process import BUILD_ID, database_pool, run_process
from workers.runtime.profiles import load_profiles_without_nodes
from workers.runtime.settings import KeyStoreSettings, SignerSettings
from workers.runtime.signing_policy import load_signing_policy

TASK_QUEUE: Final = "signer"
_DATABASE_CONNECTIONS: Final = 4

_log = structlog.get_logger(__name__)


def signer_activities(
    policy: SigningPolicy, keys: KeyProvider, pool: Pool
) -> list[Callable[..., Any]]:
    """The activities of the signer's queue."""
    signer = Signer(policy, keys, pool)
    custody = Custody(keys, signer.accounts, signer.journal, pool)
    return [
        signer.open_account,
        signer.fund_from_safe,
        signer.fee_account,
        signer.sign_batch,
        signer.withhold_batch,
        custody.retire_account,
        custody.reinstate_account,
        custody.list_keys,
        custody.rotate_keys,
        custody.verify_journal,
    ]


async def build(
    settings: SignerSettings, client: Client, stack: AsyncExitStack, health: Health
) -> list[Worker]:
    """The worker of the ``signer`` queue. Opening a keystore takes about a second.

    Raises `InvalidConfiguration` for anything wrong with the signing policy or the key store, and
    `Unavailable`.
    """
    policy = load_signing_policy(
        settings.config_dir, load_profiles_without_nodes(settings.config_dir)
    )
    keys = await stack.enter_async_context(open_keys(settings, settings.environment))
    pool = await stack.enter_async_context(
        database_pool(settings.database_url.get_secret_value(), size=_DATABASE_CONNECTIONS)
    )
    health.watch("postgres", checks.database(pool.connection), without="nothing is signed")
    health.watch("keys", keys.generation, without="nothing is signed, and no account is opened")
    new = await put_in_force(pool, policy)
    _log.info("signing policy", version=policy.version, digest=policy.digest, new=new)
    return [
        Worker(
            client,
            task_queue=TASK_QUEUE,
            build_id=BUILD_ID,
            activities=signer_activities(policy, keys, pool),
            interceptors=[HeartbeatInterceptor(), FailureInterceptor()],
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
    ]


async def initialise(settings: KeyStoreSettings) -> dict[str, Address]:
    """Create the treasury's and the fee account's keys where they are missing; return both.

    A local keystore is made first if there is none, and the first seed in Vault. Raises
    `InvalidConfiguration` for anything wrong with the key store, and `Unavailable`.
    """
    if settings.key_provider == "local":
        from activities.signing.providers.local import (  # noqa: PLC0415 - no other one loads it
            named_keystore,
            refuse_in_production,
        )

        refuse_in_production(settings.environment)
        named_keystore(settings).ensure()
    async with open_keys(settings, settings.environment) as keys:
        await _first_generation(keys)
        return {"treasury": await keys.create(TREASURY), "fee": await keys.create(FEE)}


async def _first_generation(keys: KeyProvider) -> None:
    """Make the first seed where there was never one; only here, since a signer must not."""
    try:
        await keys.generation()
    except NotFound:
        await keys.rotate_seed()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        clear_freed_memory()
        refuse_dumps()
        run_process("signer", SignerSettings, build)
        return 0
    try:
        accounts = asyncio.run(initialise(KeyStoreSettings.load()))
    except DealError as error:
        sys.stderr.write(f"{error.problem.model_dump_json(exclude_none=True)}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(accounts) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.signer", description="The signer.")
    commands = parser.add_subparsers(dest="command", required=False)
    commands.add_parser("run", help="serve the signer's task queue (also without any command)")
    commands.add_parser("init", help="make the key store ready; print the treasury and fee account")
    parser.set_defaults(command="run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
