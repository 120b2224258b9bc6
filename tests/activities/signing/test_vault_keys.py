"""The Vault key provider on real servers: what it keeps there, signs, rotates and survives."""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.hdaccount.deterministic import HDPath
from pydantic import SecretBytes

from activities.signing.providers.guarded import overwrite
from activities.signing.providers.open import open_keys
from activities.signing.providers.provider import FEE, TREASURY, KeyRef, deal_key
from activities.signing.providers.settings import KeySettings
from activities.signing.providers.vault import VaultKeyProvider
from activities.vault.transit import TransitKey
from domain.errors import Conflict, InvalidConfiguration, NotFound, SigningRefused, Unavailable
from domain.transactions import Intent
from tests.activities.signing.samples import STRANGER
from tests.activities.signing.transactions import LEGACY, assert_signed, random_intent
from tests.support.desk import eventually
from tests.support.vault import PROJECT, Role, VaultServer, raft_pair

SIGNATURES = 5_000
"""Of each kind, by a hundred to a request; and one to a request for the hundredth part of them."""


@asynccontextmanager
async def opened(role: Role) -> AsyncIterator[VaultKeyProvider]:
    keys = VaultKeyProvider.of(role.login, role.transit_key, role.seed_path)
    try:
        yield keys
    finally:
        await keys.close()


@pytest.fixture
def role(vault: VaultServer) -> Role:
    return vault.role()


@pytest.fixture
async def keys(role: Role) -> AsyncIterator[VaultKeyProvider]:
    async with opened(role) as keys:
        assert await keys.rotate_seed() == 1
        yield keys


def settings_of(role: Role, **changes: Any) -> KeySettings:
    given: dict[str, Any] = {
        "key_provider": "vault",
        "vault_addr": role.address,
        "vault_role_id_file": role.role_id_file,
        "vault_secret_id_file": role.secret_id_file,
        "vault_transit_key": role.transit_key,
        "vault_seed_path": role.seed_path,
    }
    return KeySettings.model_validate(given | changes, by_name=True)


def kept(vault: VaultServer, role: Role, version: int | None = None) -> dict[str, str]:
    """What Vault keeps at the role's path, as its administrator sees it."""
    answer = vault.admin.secrets.kv.v2.read_secret_version(
        f"{role.name}/seed", version=version, mount_point="deal", raise_on_deleted_version=True
    )
    return answer["data"]["data"]


def put(vault: VaultServer, role: Role, data: dict[str, str]) -> None:
    """Write there without asking what was there: what somebody with too many rights could do."""
    version = vault.admin.secrets.kv.v2.read_secret_metadata(f"{role.name}/seed", "deal")
    vault.admin.secrets.kv.v2.create_or_update_secret(
        f"{role.name}/seed", data, cas=version["data"]["current_version"], mount_point="deal"
    )


def context(role: Role, generation: int) -> str:
    return base64.b64encode(
        f"deal-orchestrator seed {role.seed_path} {generation}".encode()
    ).decode()


def seed_of(vault: VaultServer, role: Role, generation: int = 1) -> bytes:
    """The seed itself, by the rights of the administrator."""
    answer = vault.admin.secrets.transit.decrypt_data(
        role.name, kept(vault, role)[str(generation)], context=context(role, generation)
    )
    return base64.b64decode(answer["data"]["plaintext"])


async def one_signed(keys: VaultKeyProvider, ref: KeyRef = TREASURY) -> str:
    """Sign one fixed transaction; its bytes."""
    account = await keys.address(ref)
    intent = random_intent(account).model_copy(update={"nonce": 7, "value": 1, "data": "0x"})
    (signed,) = await keys.sign(ref, [intent])
    assert_signed(intent, signed, legacy=False)
    return account


async def many_signed(keys: VaultKeyProvider, times: int) -> None:
    for _ in range(times):
        await one_signed(keys)


async def unavailable(attempt: Callable[[], Awaitable[object]]) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await attempt()
    return caught.value


async def recovered(keys: VaultKeyProvider, account: str) -> None:
    """Sign as soon as Vault lets us, by trying again as Temporal does; with the same key."""
    deadline = time.monotonic() + 30
    while True:
        try:
            assert await one_signed(keys) == account
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            return


@pytest.mark.unmeasured
@pytest.mark.parametrize("legacy", LEGACY)
async def test_random_transactions_are_low_s_and_recover_to_the_account(
    keys: VaultKeyProvider,
    legacy: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    for many, requests in ((100, SIGNATURES // 100), (1, SIGNATURES // 100)):
        for _ in range(requests):
            ref = deal_key(secrets.randbelow(2**31))
            account = await keys.address(ref)
            intents = [random_intent(account, number) for number in range(many)]
            signed = await keys.sign(ref, intents, legacy=legacy)
            for intent, one in zip(intents, signed, strict=True):
                assert_signed(intent, one, legacy=legacy)


async def test_keys_are_those_of_bip_44_under_the_seed_in_vault(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    seed = seed_of(vault, role)
    assert len(set(seed)) > 20
    for ref, path in (
        (deal_key(7), "m/44'/60'/0'/0/7"),
        (TREASURY, "m/44'/60'/1'/0/0"),
        (FEE, "m/44'/60'/2'/0/0"),
    ):
        assert await keys.address(ref) == Account.from_key(HDPath(path).derive(seed)).address
        assert await keys.create(ref) == await keys.address(ref)


async def test_nothing_is_signed_for_another_sender(keys: VaultKeyProvider) -> None:
    with pytest.raises(SigningRefused):
        await keys.sign(deal_key(0), [random_intent(STRANGER)])


async def test_before_the_first_seed_there_are_no_keys(role: Role) -> None:
    async with opened(role) as keys:
        for attempt in (keys.generation, lambda: keys.address(TREASURY), keys.rotate_wrapping):
            with pytest.raises(NotFound, match="nothing at"):
                await attempt()


async def test_a_generation_that_is_not_there_is_not_found(keys: VaultKeyProvider) -> None:
    with pytest.raises(NotFound) as caught:
        await keys.address(deal_key(0, generation=2))
    assert caught.value.problem.limit == "1 to 1"


async def test_a_new_seed_is_for_new_keys_and_the_old_ones_stay(keys: VaultKeyProvider) -> None:
    old = await keys.address(deal_key(0))
    assert await keys.rotate_seed() == 2
    assert await keys.generation() == 2
    assert await keys.address(deal_key(0)) == old
    assert await keys.address(deal_key(0, generation=2)) != old
    await one_signed(keys, deal_key(0))
    await one_signed(keys, deal_key(0, generation=2))


async def test_a_new_wrapping_keeps_the_keys_and_ends_what_was_copied_before(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    await keys.rotate_seed()
    refs = [TREASURY, deal_key(0), deal_key(0, generation=2)]
    accounts = [await keys.address(ref) for ref in refs]
    copied = kept(vault, role)
    assert all(text.startswith("vault:v1:") for text in copied.values())

    await keys.rotate_wrapping()

    assert all(text.startswith("vault:v2:") for text in kept(vault, role).values())
    assert [await keys.address(ref) for ref in refs] == accounts
    put(vault, role, copied)
    with pytest.raises(InvalidConfiguration, match="cannot be decrypted") as caught:
        await keys.address(TREASURY)
    assert "too old" in str(caught.value.problem.actual)


async def test_a_new_wrapping_that_was_interrupted_is_completed_by_the_next(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await keys.address(TREASURY)
    vault.admin.secrets.transit.rotate_key(role.name)  # and then the signer was killed
    assert await keys.address(TREASURY) == account
    await keys.rotate_seed()
    await keys.rotate_wrapping()
    assert {text[:9] for text in kept(vault, role).values()} == {"vault:v3:"}
    assert await keys.address(TREASURY) == account


async def test_rotations_at_once_lose_nothing(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await keys.address(TREASURY)
    async with opened(role) as second, opened(role) as third:
        made = await asyncio.gather(
            keys.rotate_seed(),
            second.rotate_wrapping(),
            second.rotate_seed(),
            third.rotate_seed(),
            third.rotate_wrapping(),
        )
        assert sorted(number for number in made if number is not None) == [2, 3, 4]
        assert await keys.generation() == 4
        accounts = [await third.address(deal_key(0, generation)) for generation in range(1, 5)]
        assert len(set(accounts)) == 4
        assert await second.address(TREASURY) == account
    # After one more, alone, everything is under one version again.
    await keys.rotate_wrapping()
    assert len({text.split(":")[1] for text in kept(vault, role).values()}) == 1


def rotated_after_reading(
    monkeypatch: pytest.MonkeyPatch, keys: VaultKeyProvider, other: VaultKeyProvider
) -> list[int]:
    """Have another process change the wrapping right after the next reading of the seeds."""
    read, versions = keys._seeds._read, list[int]()

    async def read_and_be_overtaken() -> Any:
        sealed = await read()
        versions.append(sealed.version)
        if len(versions) == 1:
            await other.rotate_wrapping()
        return sealed

    monkeypatch.setattr(keys._seeds, "_read", read_and_be_overtaken)
    return versions


async def test_a_seed_whose_wrapping_is_retired_while_it_is_read_is_read_again(
    role: Role, keys: VaultKeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await keys.address(TREASURY)
    async with opened(role) as other:
        versions = rotated_after_reading(monkeypatch, keys, other)
        assert await keys.address(TREASURY) == account
    assert versions[0] < versions[-1]


async def test_a_new_wrapping_that_another_overtakes_begins_again(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await keys.address(TREASURY)
    async with opened(role) as other:
        versions = rotated_after_reading(monkeypatch, keys, other)
        await keys.rotate_wrapping()
    assert versions[0] < versions[-1]
    assert {text[:9] for text in kept(vault, role).values()} == {"vault:v3:"}
    assert await keys.address(TREASURY) == account


async def test_the_slower_of_two_new_wrappings_allows_nothing_again_that_was_retired(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    retire, asked = TransitKey.retire_before, list[int]()
    async with opened(role) as other:

        async def after_another(key: TransitKey, version: int) -> None:
            asked.append(version)
            if len(asked) == 1:  # the other one comes between the writing and the retiring
                await other.rotate_wrapping()
            await retire(key, version)

        monkeypatch.setattr(TransitKey, "retire_before", after_another)
        await keys.rotate_wrapping()
    assert asked[:2] == [2, 3]  # the other one's before ours
    kept_key = vault.admin.secrets.transit.read_key(role.name)["data"]
    assert kept_key["min_decryption_version"] == kept_key["latest_version"] == 3


async def test_whoever_is_always_overtaken_gives_up_and_changes_nothing(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = keys._seeds._read

    async def read_and_be_overtaken() -> Any:
        sealed = await read()
        put(vault, role, kept(vault, role))
        return sealed

    monkeypatch.setattr(keys._seeds, "_read", read_and_be_overtaken)
    before = kept(vault, role)
    with pytest.raises(Conflict):
        await keys.rotate_seed()
    assert kept(vault, role) == before


async def test_deleted_seeds_are_named_and_never_made_anew(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await keys.address(TREASURY)
    kv = vault.admin.secrets.kv.v2
    kv.delete_latest_version_of_secret(f"{role.name}/seed", "deal")
    for attempt in (lambda: keys.address(TREASURY), keys.generation, keys.rotate_wrapping):
        with pytest.raises(NotFound) as caught:
            await attempt()
        assert "undelete" in caught.value.problem.next_action
    with pytest.raises(Conflict) as overtaken:
        await keys.rotate_seed()
    assert "undelete" in overtaken.value.problem.next_action
    kv.undelete_secret_versions(f"{role.name}/seed", [1], "deal")
    assert await one_signed(keys) == account


# Not the last before the padding: some of its bits stand for nothing.
@pytest.mark.parametrize("place", [12, 30, -6])
async def test_a_changed_ciphertext_is_not_used(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, place: int
) -> None:
    good = kept(vault, role)["1"]
    other = "A" if good[place] != "A" else "B"
    changed = f"{good[:place]}{other}{good[place:][1:]}"
    put(vault, role, {"1": changed})
    with pytest.raises(InvalidConfiguration, match="cannot be decrypted") as caught:
        await keys.address(TREASURY)
    assert "vault kv rollback" in caught.value.problem.next_action
    assert good[20:40] not in caught.value.problem.model_dump_json()
    put(vault, role, {"1": good})
    await one_signed(keys)


async def test_a_seed_in_the_place_of_another_is_not_used(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    await keys.rotate_seed()
    both = kept(vault, role)
    put(vault, role, {"1": both["2"], "2": both["1"]})
    for generation in (1, 2):
        with pytest.raises(InvalidConfiguration, match="cannot be decrypted"):
            await keys.address(deal_key(0, generation))


async def test_a_seed_from_another_path_is_not_used(vault: VaultServer, role: Role) -> None:
    """Also not under the same transit key: the path is part of what it is bound to."""
    async with opened(role) as keys:
        await keys.rotate_seed()
    other = Role(f"{role.name}-2", role.folder, role.address)
    vault.admin.secrets.kv.v2.create_or_update_secret(
        f"{other.name}/seed", kept(vault, role), mount_point="deal"
    )
    rules = vault.admin.sys.read_policy(role.name)["data"]["rules"]
    more = f'path "deal/data/{other.name}/seed" {{ capabilities = ["read"] }}'
    vault.admin.sys.create_or_update_policy(role.name, f"{rules}\n{more}")
    keys = VaultKeyProvider.of(role.login, role.transit_key, other.seed_path)
    with pytest.raises(InvalidConfiguration, match="cannot be decrypted"):
        await keys.address(TREASURY)
    await keys.close()


@pytest.mark.parametrize(
    "data",
    [
        {"word": "first"},
        {"1": "first"},
        {"1": "vault:vx:AAAA"},
        {"2": "vault:v1:AAAA"},
        {"1": "vault:v1:AAAA", "3": "vault:v1:AAAA"},
        {"0": "vault:v1:AAAA", "1": "vault:v1:AAAA"},
        {},
    ],
)
async def test_what_is_no_seeds_of_ours_is_named(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, data: dict[str, str]
) -> None:
    put(vault, role, data)
    for attempt in (lambda: keys.address(TREASURY), keys.rotate_seed, keys.rotate_wrapping):
        with pytest.raises(InvalidConfiguration, match="not the seeds of this system"):
            await attempt()
    assert kept(vault, role) == data


async def test_a_seed_of_another_length_is_not_used(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    short = vault.admin.secrets.transit.encrypt_data(
        role.name, base64.b64encode(bytes(32)).decode(), context=context(role, 1)
    )
    put(vault, role, {"1": short["data"]["ciphertext"]})
    with pytest.raises(InvalidConfiguration, match="not the seeds of this system"):
        await keys.address(TREASURY)


async def test_a_revoked_token_costs_no_signature(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await one_signed(keys)
    vault.revoke_tokens(role)
    assert await one_signed(keys) == account


async def test_a_token_that_expires_between_two_requests_costs_no_signature(
    vault: VaultServer,
) -> None:
    role = vault.role(token_ttl="2s", token_max_ttl="2s")
    async with opened(role) as keys:
        await keys.rotate_seed()
        account = await one_signed(keys)
        await eventually(lambda: not vault.accessors(role), "the token has expired")
        assert await one_signed(keys) == account


async def test_a_token_that_goes_between_reading_and_decrypting_costs_no_signature(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await one_signed(keys)
    read = keys._seeds._read

    async def read_and_revoke() -> Any:
        sealed = await read()
        vault.revoke_tokens(role)
        return sealed

    monkeypatch.setattr(keys._seeds, "_read", read_and_revoke)
    assert await keys.address(TREASURY) == account


async def test_a_wrong_secret_id_and_a_missing_policy_are_named_and_mended_without_a_restart(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await one_signed(keys)
    vault.admin.auth.approle.destroy_secret_id(role.name, role.secret_id_file.read_text().strip())
    vault.revoke_tokens(role)
    with pytest.raises(InvalidConfiguration) as caught:
        await one_signed(keys)
    assert caught.value.problem.field == "DEAL_VAULT_SECRET_ID_FILE"
    vault.set_up(role, {})  # which gives a new secret id
    assert await one_signed(keys) == account

    vault.admin.sys.delete_policy(role.name)
    with pytest.raises(InvalidConfiguration, match="does not let us"):
        await one_signed(keys)
    vault.set_up(role, {})
    assert await one_signed(keys) == account


async def test_a_rate_limit_is_gone_through(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account = await one_signed(keys)
    quota = f"/v1/sys/quotas/rate-limit/{role.name}"
    path = f"transit/decrypt/{role.name}"
    vault.admin.adapter.post(quota, json={"path": path, "rate": 2, "interval": "5s"})
    try:
        limited = await unavailable(lambda: many_signed(keys, 3))
        assert "limits our rate" in str(limited)
        await recovered(keys, account)
    finally:
        vault.admin.adapter.delete(quota)


async def test_a_restart_a_seal_and_an_unseal_are_gone_through(stored_vault: VaultServer) -> None:
    role = stored_vault.role()
    async with opened(role) as keys:
        await keys.rotate_seed()
        account = await one_signed(keys)

        stored_vault.stop()
        assert "does not answer" in str(await unavailable(lambda: one_signed(keys)))
        stored_vault.start()
        assert "sealed" in str(await unavailable(lambda: one_signed(keys)))
        stored_vault.unseal()
        await recovered(keys, account)

        stored_vault.seal()
        sealed = await unavailable(lambda: one_signed(keys))
        assert "vault operator unseal" in sealed.problem.next_action
        stored_vault.unseal()
        await recovered(keys, account)


async def test_a_standby_serves_while_there_is_an_active_node_and_is_waited_for_else(
    vault_program: Path,
) -> None:
    with raft_pair(vault_program) as (active, standby):
        role = active.role()
        at_standby = Role(role.name, role.folder, standby.address)
        async with opened(at_standby) as keys:
            await keys.rotate_seed()
            account = await one_signed(keys)
            active.stop()
            await unavailable(lambda: one_signed(keys))
            active.start()
            active.unseal("active", "standby")
            await recovered(keys, account)


async def test_signatures_at_once_are_each_their_own(keys: VaultKeyProvider) -> None:
    account = await keys.address(TREASURY)
    intents = [random_intent(account, number) for number in range(20)]
    signed = await asyncio.gather(*(keys.sign(TREASURY, [intent]) for intent in intents))
    for intent, (one,) in zip(intents, signed, strict=True):
        assert_signed(intent, one, legacy=False)


async def test_seeds_are_restored_as_the_runbook_says(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    account, path = await one_signed(keys), f"{role.name}/seed"
    vault.tool("kv", "delete", "-mount=deal", path)
    with pytest.raises(NotFound):
        await one_signed(keys)
    vault.tool("kv", "undelete", "-mount=deal", "-versions=1", path)
    assert await one_signed(keys) == account

    put(vault, role, {"1": "spoilt"})
    with pytest.raises(InvalidConfiguration):
        await one_signed(keys)
    vault.tool("kv", "rollback", "-mount=deal", "-version=1", path)
    assert await one_signed(keys) == account


async def test_a_backup_of_the_storage_has_the_same_keys(stored_vault: VaultServer) -> None:
    role = stored_vault.role()
    async with opened(role) as keys:
        await keys.rotate_seed()
        await keys.rotate_wrapping()
        account = await one_signed(keys)
    data, backup = stored_vault.folder / "data", stored_vault.folder / "backup"
    stored_vault.stop()
    shutil.copytree(data, backup)
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    stored_vault.start()
    stored_vault.unseal()
    async with opened(role) as keys:
        assert await one_signed(keys) == account


async def test_it_is_opened_by_its_settings_and_needs_no_vault_for_that(
    role: Role, keys: VaultKeyProvider
) -> None:
    async with open_keys(settings_of(role), "production") as by_settings:
        assert by_settings.name == "vault"
        assert await by_settings.address(TREASURY) == await keys.address(TREASURY)
    away = settings_of(role, vault_addr="http://127.0.0.1:9")
    async with open_keys(away, "production") as none:
        await unavailable(lambda: none.address(TREASURY))


@pytest.mark.parametrize(
    ("field", "variable"),
    [
        ("vault_addr", "VAULT_ADDR"),
        ("vault_role_id_file", "DEAL_VAULT_ROLE_ID_FILE"),
        ("vault_secret_id_file", "DEAL_VAULT_SECRET_ID_FILE"),
        ("vault_transit_key", "DEAL_VAULT_TRANSIT_KEY"),
        ("vault_seed_path", "DEAL_VAULT_SEED_PATH"),
    ],
)
async def test_a_missing_setting_is_named(role: Role, field: str, variable: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        async with open_keys(settings_of(role, **{field: None}), "production"):
            pass
    assert caught.value.problem.field == variable


@pytest.mark.parametrize("field", ["vault_transit_key", "vault_seed_path"])
@pytest.mark.parametrize("value", ["seed", "/seed", "deal/"])
async def test_a_place_without_its_mount_is_named(role: Role, field: str, value: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        async with open_keys(settings_of(role, **{field: value}), "production"):
            pass
    assert caught.value.problem.field == f"DEAL_{field}".upper()


def test_the_first_seed_is_made_by_init_and_by_nothing_else(vault: VaultServer, role: Role) -> None:
    def init() -> subprocess.CompletedProcess[str]:
        given = {"PATH": os.environ["PATH"], "DEAL_ENVIRONMENT": "production"}
        return subprocess.run(
            [sys.executable, "-m", "workers.signer", "init"],
            env=given | role.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

    first = init()
    assert first.returncode == 0, first.stderr
    again = init()
    assert again.stdout == first.stdout
    assert list(kept(vault, role)) == ["1"]
    treasury = Account.from_key(HDPath(TREASURY.path).derive(seed_of(vault, role))).address
    assert treasury in first.stdout


async def test_nothing_secret_is_logged_shown_or_carried_away(
    vault: VaultServer, role: Role, keys: VaultKeyProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await one_signed(keys)
    await keys.rotate_seed()
    await keys.rotate_wrapping()
    seed = seed_of(vault, role)
    lease = keys._session._lease
    assert lease is not None
    caplog.set_level(logging.WARNING)
    shown = f"{caplog.text} {keys!r} {keys} {keys._session!r} {lease!r}"
    assert "transit/decrypt" in shown  # what was done is logged, at this level
    for secret in (
        base64.b64encode(seed).decode()[:20],
        seed.hex()[:20],
        kept(vault, role)["1"][10:30],
        lease.token.get_secret_value(),
        role.secret_id_file.read_text().strip(),
    ):
        assert secret not in shown
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be serialised"):
            carry(keys)


def test_a_secret_is_overwritten_where_it_is() -> None:
    raw = secrets.token_bytes(64)
    secret = SecretBytes(raw)
    overwrite(secret)
    assert raw == bytes(64)


_SIGNS_AND_WAITS = """
import asyncio, sys
from activities.signing.providers.open import open_keys
from activities.signing.providers.provider import TREASURY
from domain.transactions import Intent
from workers.runtime.memory import clear_freed_memory
from workers.runtime.settings import KeyStoreSettings

async def main():
    async with open_keys(KeyStoreSettings.load(), "production") as keys:
        intent = Intent.model_validate_json(sys.argv[1])
        for _ in range(20):
            await keys.sign(TREASURY, [intent])
        print("signed", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

if sys.argv[2] == "clears":
    clear_freed_memory()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's memory as Linux shows it")
async def test_after_signing_the_memory_of_the_process_holds_no_key(
    vault: VaultServer, role: Role, keys: VaultKeyProvider
) -> None:
    intent = random_intent(await keys.address(TREASURY)).model_copy(update={"data": "0x"})
    seed = seed_of(vault, role)
    traces = _traces(seed, HDPath(TREASURY.path).derive(seed))
    assert _found(_memory_after_signing(role, intent, "clears"), traces) == set()
    # And the search would see it: an allocator that does not clear leaves what was there.
    assert _found(_memory_after_signing(role, intent, "does not"), traces)


def _traces(seed: bytes, key: bytes) -> dict[str, bytes]:
    """What would give a secret away, from its middle too, since the allocator uses the ends."""
    whole = {
        "seed": seed,
        "seed in base64": base64.b64encode(seed),
        "seed in hex": seed.hex().encode(),
        "key": key,
        "key in hex": key.hex().encode(),
        "key as libsecp256k1 turns it": key[::-1],
    }
    middles = {f"{name}, middle": text[len(text) // 2 :][:16] for name, text in whole.items()}
    return whole | middles


def _memory_after_signing(role: Role, intent: Intent, memory: str) -> bytes:
    """Let a process sign, and return its memory while it waits for more."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SIGNS_AND_WAITS, intent.model_dump_json(), memory],
        env={"PATH": os.environ["PATH"]} | role.environment,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"signed\n"
        memory_now = _memory(process.pid)
        process.stdin.close()
    assert process.returncode == 0
    return memory_now


def _memory(pid: int) -> bytes:
    content = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            start, end = (int(number, 16) for number in place.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                content.append(memory.read(end - start))
    return b"".join(content)


def _found(memory: bytes, traces: dict[str, bytes]) -> set[str]:
    return {name for name, trace in traces.items() if trace in memory}
