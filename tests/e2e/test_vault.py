"""Deals whose keys are in Vault: it restarts, is sealed, forgets us, and every deal completes.

The signer is never restarted: its process is the same at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from activities.signing.providers.vault import VaultKeyProvider
from domain.deals import DealStatus, Step
from domain.identifiers import DealId
from starters.local.stack import Stack
from starters.local.state import load_state
from tests.e2e.test_deals import ONE_CYCLE
from tests.e2e.test_kills import check_all
from tests.e2e.test_outages import all_final
from tests.support.desk import Desk, eventually
from tests.support.stacks import running_stack
from tests.support.treasury import Treasury
from tests.support.vault import Role, VaultServer, dev_vault, file_vault

SERVERS = {"dev": dev_vault, "file": file_vault}


@contextmanager
def stack_on(server: VaultServer, **settings: str) -> Iterator[tuple[Stack, Role]]:
    """A stack of one chain whose signer has its keys in this Vault."""
    role = server.role(**settings)
    with running_stack(block_time=1, chains=(138,), keys=role.environment) as stack:
        yield stack, role


@asynccontextmanager
async def one_deal(stack: Stack) -> AsyncIterator[tuple[Desk, DealId]]:
    """A deal that is about to be funded, on a chain that mines when it is told to.

    When this ends the chain mines again, and the deal has to complete, by the same signer.
    """
    desk, signer = await Desk.open(stack), signer_process(stack)
    before = Treasury.of(desk.node(), desk)
    with desk.node().held():
        deal_id = (await desk.start()).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        yield desk, deal_id
    await desk.end(deal_id)
    await eventually(lambda: all_final(desk, [deal_id]), "its last transactions are final")
    await check_all(desk, [deal_id], before)
    assert signer_process(stack) == signer


def signer_process(stack: Stack) -> int:
    return load_state(stack.folder).processes["signer"].pid


async def next_step(desk: Desk, deal_id: DealId, step: Step) -> None:
    """Mine what waits; the next step is signed and sent."""
    desk.node().mine()
    await desk.sent(deal_id, step)


async def next_step_is_held_up(desk: Desk, deal_id: DealId, step: Step) -> None:
    """Mine what waits; the next step is numbered and cannot be signed."""
    desk.node().mine()
    await desk.prepared(deal_id, step)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_deal_completes_though_its_token_is_lost_in_the_middle(
    vault_program: Path, kind: str
) -> None:
    with SERVERS[kind](vault_program) as vault, stack_on(vault) as (stack, role):
        async with one_deal(stack) as (desk, deal_id):
            for step in ONE_CYCLE[1:]:
                vault.revoke_tokens(role)
                await next_step(desk, deal_id, step)
        assert len(vault.accessors(role)) == 1


async def test_a_deal_completes_though_vault_restarts_is_sealed_and_lets_tokens_expire(
    vault_program: Path,
) -> None:
    with (
        file_vault(vault_program, tls=True) as vault,
        stack_on(vault, token_ttl="2s", token_max_ttl="2s") as (stack, role),
    ):
        async with one_deal(stack) as (desk, deal_id):
            vault.stop()
            await next_step_is_held_up(desk, deal_id, Step.WRAP)
            vault.start()
            assert vault.state() == "sealed"
            vault.unseal()
            await desk.sent(deal_id, Step.WRAP)

            vault.seal()
            await next_step_is_held_up(desk, deal_id, Step.COLLATERALIZE)
            vault.unseal()
            await desk.sent(deal_id, Step.COLLATERALIZE)

            await eventually(lambda: not vault.accessors(role), "every token has expired")
            await next_step(desk, deal_id, Step.BORROW)

            vault.restart()
            await next_step_is_held_up(desk, deal_id, Step.SWAP)
            vault.unseal()
            await desk.sent(deal_id, Step.SWAP)


async def test_a_deal_completes_though_vault_limits_it_and_its_seeds_are_rotated(
    vault_program: Path,
) -> None:
    with dev_vault(vault_program) as vault, stack_on(vault) as (stack, role):
        keys = VaultKeyProvider.of(role.login, role.transit_key, role.seed_path)
        async with one_deal(stack) as (desk, deal_id):
            await next_step(desk, deal_id, Step.WRAP)
            await keys.rotate_wrapping()
            await next_step(desk, deal_id, Step.COLLATERALIZE)
            await keys.rotate_seed()
            await next_step(desk, deal_id, Step.BORROW)
            with limited(vault, f"transit/decrypt/{role.name}"):
                for step in (Step.SWAP, Step.REDEEM, Step.SETTLE):
                    await next_step(desk, deal_id, step)
        await keys.close()
        assert "Vault limits our rate" in (stack.folder / "logs" / "signer.log").read_text()


async def test_a_deal_whose_signer_is_locked_out_waits_says_why_and_completes_when_it_is_let_in(
    vault_program: Path,
) -> None:
    with dev_vault(vault_program) as vault, stack_on(vault) as (stack, role):
        signer, log = signer_process(stack), stack.folder / "logs" / "signer.log"
        async with one_deal(stack) as (desk, deal_id):
            vault.admin.auth.approle.destroy_secret_id(
                role.name, role.secret_id_file.read_text().strip()
            )
            vault.revoke_tokens(role)
            await next_step_is_held_up(desk, deal_id, Step.WRAP)
            told = "the signer cannot use its keys: Vault does not know our role id and secret id"
            await eventually(lambda: told in log.read_text(), "it says what it waits for")
            assert '"kind": "keys"' in log.read_text()
            assert str(role.secret_id_file) in log.read_text()
            denied = await desk.run()  # nothing begins meanwhile
            assert denied.status is DealStatus.DENIED
            assert denied.problem is not None
            assert denied.problem.field == "DEAL_VAULT_SECRET_ID_FILE"
            assert (await desk.deals.view(deal_id)).status is DealStatus.EXECUTING

            vault.set_up(role, {})  # as the runbook says: a new secret id
            await desk.sent(deal_id, Step.WRAP)
        assert signer_process(stack) == signer


@contextmanager
def limited(vault: VaultServer, path: str) -> Iterator[None]:
    """Let one request through in five seconds."""
    quota = "/v1/sys/quotas/rate-limit/few"
    vault.admin.adapter.post(quota, json={"path": path, "rate": 1, "interval": "5s"})
    try:
        yield
    finally:
        vault.admin.adapter.delete(quota)
