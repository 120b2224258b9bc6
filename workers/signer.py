"""The signer worker: ``python -m workers.signer run``, and ``init`` to make its keystore.

The one process with access to keys. It has its own database role, polls only the queue ``signer``
and talks to no node.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import Worker

from activities.signing.database import Pool
from activities.signing.providers.keystore import ensure_keystore, read_passphrase
from activities.signing.providers.local import LocalKeyProvider, refuse_in_production
from activities.signing.providers.provider import TREASURY, KeyProvider
from activities.signing.signer import Signer
from domain.chains import ChainProfile
from domain.errors import DealError
from domain.identifiers import Address, ChainId
from workers.runtime.failures import FailureInterceptor
from workers.runtime.heartbeats import HEARTBEAT_THROTTLE, HeartbeatInterceptor
from workers.runtime.process import BUILD_ID, database_pool, run_process
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import Settings, SignerSettings

TASK_QUEUE: Final = "signer"
_DATABASE_CONNECTIONS: Final = 4


def signer_activities(
    profiles: Mapping[ChainId, ChainProfile], keys: KeyProvider, pool: Pool
) -> list[Callable[..., Any]]:
    """The activities of the signer's queue."""
    signer = Signer(profiles, keys, pool)
    return [signer.open_account, signer.sign_batch, signer.withhold_batch]


async def build(settings: SignerSettings, client: Client, stack: AsyncExitStack) -> list[Worker]:
    """The worker of the ``signer`` queue. Opening the keystore takes about a second.

    Raises `InvalidConfiguration` for anything wrong with the files, and in production.
    """
    passphrase = read_passphrase(settings.keystore_passphrase_file)
    keys = LocalKeyProvider.open(settings.keystore_file, passphrase, settings.environment)
    profiles = load_profiles(settings.config_dir)
    pool = await stack.enter_async_context(
        database_pool(settings.database_url, size=_DATABASE_CONNECTIONS)
    )
    return [
        Worker(
            client,
            task_queue=TASK_QUEUE,
            build_id=BUILD_ID,
            activities=signer_activities(profiles, keys, pool),
            interceptors=[HeartbeatInterceptor(), FailureInterceptor()],
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
    ]


async def initialise(keystore: Path, passphrase_file: Path) -> Address:
    """Create the keystore if there is none, and return the treasury's account.

    Raises `InvalidConfiguration` for anything wrong with the files, and in production.
    """
    environment = Settings.load().environment
    refuse_in_production(environment)
    passphrase = read_passphrase(passphrase_file)
    ensure_keystore(keystore, passphrase)
    keys = LocalKeyProvider.open(keystore, passphrase, environment)
    return await keys.address(TREASURY)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        run_process("signer", SignerSettings, build)
        return 0
    try:
        treasury = asyncio.run(initialise(options.keystore, options.passphrase_file))
    except DealError as error:
        sys.stderr.write(f"{error.problem.model_dump_json(exclude_none=True)}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"treasury": treasury}) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.signer", description="The signer.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="serve the signer's task queue")
    init = commands.add_parser("init", help="create the keystore if missing; print the treasury")
    init.add_argument("--keystore", type=Path, required=True, metavar="FILE")
    init.add_argument("--passphrase-file", type=Path, required=True, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
