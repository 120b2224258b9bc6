"""One session through everything that Vault can do to it: never restarted, never wrong for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from activities.vault.credentials import VaultLogin
from activities.vault.kv import NEVER_WRITTEN, KvPath, read_secret, write_secret
from activities.vault.session import Lease, VaultSession
from domain.errors import Conflict, InvalidConfiguration, NotFound, Unavailable
from tests.support.desk import eventually
from tests.support.vault import Role, VaultServer


def seed_path(role: Role) -> KvPath:
    return KvPath.parse(role.seed_path, setting="DEAL_VAULT_SEED_PATH")


@asynccontextmanager
async def open_session(login: VaultLogin) -> AsyncIterator[VaultSession]:
    session = VaultSession(login)
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture
def role(vault: VaultServer) -> Role:
    return vault.role()


@pytest.fixture
async def session(role: Role) -> AsyncIterator[VaultSession]:
    async with open_session(role.login) as session:
        await write_secret(session, seed_path(role), {"word": "first"}, over=NEVER_WRITTEN)
        yield session


async def word(session: VaultSession, role: Role) -> str:
    return (await read_secret(session, seed_path(role))).data["word"]


async def unavailable(attempt: Callable[[], Awaitable[object]]) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await attempt()
    assert caught.value.retryable
    assert caught.value.problem.next_action
    return caught.value


async def recovered(session: VaultSession, role: Role) -> str:
    """What a caller gets who tries again, as Temporal does, until Vault is there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await word(session, role)
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_secrets_are_read_and_written_over_the_version_that_was_seen(
    session: VaultSession, role: Role
) -> None:
    path = seed_path(role)
    assert (await read_secret(session, path)).version == 1
    assert await write_secret(session, path, {"word": "second"}, over=1) == 2
    with pytest.raises(Conflict):
        await write_secret(session, path, {"word": "lost"}, over=1)
    with pytest.raises(Conflict):
        await write_secret(session, path, {"word": "lost"}, over=NEVER_WRITTEN)
    assert await word(session, role) == "second"


async def test_what_is_not_there_or_deleted_is_not_found(
    vault: VaultServer, session: VaultSession, role: Role
) -> None:
    vault.admin.secrets.kv.v2.delete_latest_version_of_secret(f"{role.name}/seed", "deal")
    with pytest.raises(NotFound) as caught:
        await word(session, role)
    assert "undelete" in caught.value.problem.next_action
    vault.admin.secrets.kv.v2.undelete_secret_versions(f"{role.name}/seed", [1], "deal")
    assert await word(session, role) == "first"


async def test_many_requests_at_once_share_one_login(vault: VaultServer, role: Role) -> None:
    async with open_session(role.login) as session:
        await write_secret(session, seed_path(role), {"word": "first"}, over=NEVER_WRITTEN)
        words = await asyncio.gather(*(word(session, role) for _ in range(40)))
        assert set(words) == {"first"}
        assert len(vault.accessors(role)) == 1
    assert vault.accessors(role) == []  # given back


def aged(session: VaultSession, seconds: float, lifetime: float = 60) -> Lease:
    """Have the session believe that its token has lived so long, of so long a life."""
    assert session._lease is not None
    session._lease = replace(
        session._lease, began=time.monotonic() - seconds, lifetime=lifetime, renewable=True
    )
    return session._lease


@pytest.mark.parametrize(
    ("age", "ttl", "renewed", "kept"),
    [
        (39, "60s", False, True),  # fresh
        (41, "60s", True, True),  # two thirds are over
        (41, "10s", False, False),  # Vault would only renew it for a moment: its last end is near
        (59, "60s", False, False),  # too late to begin with it
        (99, "60s", False, False),
    ],
)
async def test_a_token_is_renewed_before_its_end_and_replaced_at_its_last(
    vault: VaultServer, age: float, ttl: str, *, renewed: bool, kept: bool
) -> None:
    role = vault.role(token_ttl=ttl, token_max_ttl=ttl)
    async with open_session(role.login) as session:
        await write_secret(session, seed_path(role), {"word": "first"}, over=NEVER_WRITTEN)
        before = aged(session, age)
        assert await word(session, role) == "first"
        after = session._lease
        assert after is not None
        assert (after.token == before.token) is kept
        assert (after is not before) is (renewed or not kept)
        assert after.age < after.lifetime


async def test_tokens_that_end_at_once_are_waited_through(
    vault: VaultServer, session: VaultSession, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in = session._log_in

    async def log_in_and_be_revoked() -> Lease:
        lease = await log_in()
        vault.revoke_tokens(role)
        return lease

    vault.revoke_tokens(role)
    with monkeypatch.context() as patched:
        patched.setattr(session, "_log_in", log_in_and_be_revoked)
        assert "ends our tokens" in str(await unavailable(lambda: word(session, role)))
    assert await word(session, role) == "first"


async def test_an_expired_token_is_replaced(vault: VaultServer) -> None:
    role = vault.role(token_ttl="2s", token_max_ttl="2s")
    async with open_session(role.login) as session:
        await write_secret(session, seed_path(role), {"word": "first"}, over=NEVER_WRITTEN)
        first = vault.accessors(role)
        await eventually(lambda: not vault.accessors(role), "the token has expired")
        assert await word(session, role) == "first"
        assert vault.accessors(role) != first


async def test_a_revoked_token_is_replaced_within_the_same_request(
    vault: VaultServer, session: VaultSession, role: Role
) -> None:
    vault.revoke_tokens(role)
    assert await word(session, role) == "first"
    vault.revoke_tokens(role)
    words = await asyncio.gather(*(word(session, role) for _ in range(8)))
    assert set(words) == {"first"}
    assert len(vault.accessors(role)) == 1


async def test_a_login_that_fails_is_not_taken_for_a_missing_right_by_those_who_waited_for_it(
    vault: VaultServer, session: VaultSession, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in, attempts = session._log_in, []

    async def fail_once() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            session._lease = None
            await asyncio.sleep(0)
            raise session._away("Vault does not answer", "a test")
        return await log_in()

    monkeypatch.setattr(session, "_log_in", fail_once)
    vault.revoke_tokens(role)
    words = await asyncio.gather(*(word(session, role) for _ in range(4)), return_exceptions=True)
    assert sorted(map(str, words)) == ["Vault does not answer", "first", "first", "first"]


async def test_others_are_served_while_one_logs_in(
    session: VaultSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, served, lease = session._request, [], session._lease
    assert lease is not None

    async def serve_another_first(work: Any, client: Any = None) -> Any:
        if client is not None:  # the login
            served.append(await request(lambda client: client.auth.token.renew_self()))
        return await request(work, client)

    monkeypatch.setattr(session, "_request", serve_another_first)
    await session._replace(lease)
    assert served[0]["auth"]["client_token"] == lease.token.get_secret_value()
    assert session._lease is not lease


async def test_a_wrong_secret_id_is_named_and_a_new_one_needs_no_restart(
    vault: VaultServer, session: VaultSession, role: Role
) -> None:
    right = role.secret_id_file.read_text()
    role.secret_id_file.write_text("11111111-2222-3333-4444-555555555555")
    vault.revoke_tokens(role)
    with pytest.raises(InvalidConfiguration) as caught:
        await word(session, role)
    assert caught.value.problem.field == "DEAL_VAULT_SECRET_ID_FILE"
    assert caught.value.problem.value == str(role.secret_id_file)
    assert "invalid role or secret ID" in str(caught.value.problem.actual)
    assert "55555" not in caught.value.problem.model_dump_json()
    assert caught.value.__suppress_context__
    role.secret_id_file.write_text(right)
    assert await word(session, role) == "first"


async def test_a_secret_id_that_was_destroyed_is_as_wrong(vault: VaultServer, role: Role) -> None:
    vault.admin.auth.approle.destroy_secret_id(role.name, role.secret_id_file.read_text().strip())
    async with open_session(role.login) as session:
        with pytest.raises(InvalidConfiguration, match="does not know our role id"):
            await word(session, role)


async def test_a_missing_policy_is_named_and_works_once_it_is_back(
    vault: VaultServer, session: VaultSession, role: Role
) -> None:
    policy = vault.admin.sys.read_policy(role.name)["data"]["rules"]
    vault.admin.sys.delete_policy(role.name)
    with pytest.raises(InvalidConfiguration) as caught:
        await word(session, role)
    assert f"read {role.seed_path}" in str(caught.value)
    assert "permission denied" in str(caught.value.problem.actual)
    vault.admin.sys.create_or_update_policy(role.name, policy)
    assert await word(session, role) == "first"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("delete", "deal/data/{name}/seed"),
        ("post", "deal/destroy/{name}/seed"),
        ("post", "deal/metadata/{name}/seed"),
        ("list", "deal/metadata"),
        ("get", "deal/data/other/seed"),
        ("get", "transit/keys/{name}"),
        ("post", "transit/keys/other"),
        ("post", "transit/encrypt/other"),
        ("get", "transit/export/encryption-key/{name}"),
        ("get", "transit/backup/{name}"),
        ("post", "transit/datakey/plaintext/{name}"),
        ("delete", "transit/keys/{name}"),
        ("post", "auth/token/create"),
        ("post", "auth/approle/role/{name}/secret-id"),
        ("get", "sys/mounts"),
    ],
)
async def test_the_role_may_do_nothing_but_its_work(
    session: VaultSession, role: Role, method: str, path: str
) -> None:
    url = f"/v1/{path.format(name=role.name)}"
    with pytest.raises(InvalidConfiguration, match="does not let us try it"):
        await session.run(lambda client: client.adapter.request(method, url), doing="try it")


async def test_of_the_key_only_the_oldest_version_may_be_changed(
    session: VaultSession, role: Role
) -> None:
    for setting in ("deletion_allowed", "exportable", "allow_plaintext_backup"):
        with pytest.raises(InvalidConfiguration, match="does not let us try it"):
            await session.run(
                lambda client, setting=setting: client.secrets.transit.update_key_configuration(
                    role.name, **{setting: True}
                ),
                doing="try it",
            )


async def test_a_rate_limit_is_waited_out_without_asking_vault_again(
    vault: VaultServer, session: VaultSession, role: Role
) -> None:
    vault.admin.adapter.post(
        f"/v1/sys/quotas/rate-limit/{role.name}",
        json={"path": f"deal/data/{role.name}/seed", "rate": 1, "interval": "5s"},
    )
    try:
        assert await word(session, role) == "first"
        limited = await unavailable(lambda: word(session, role))
        assert "limits our rate" in str(limited)
        asked = vault.admin.sys.read_health_status(method="GET")
        assert asked["initialized"]
        held = await unavailable(lambda: word(session, role))
        assert "asked to wait" in str(held.problem.actual)  # said here, not by Vault
        assert await recovered(session, role) == "first"
    finally:
        vault.admin.adapter.delete(f"/v1/sys/quotas/rate-limit/{role.name}")


async def test_a_restart_a_seal_and_an_unseal_are_gone_through(stored_vault: VaultServer) -> None:
    role = stored_vault.role()
    async with open_session(role.login) as session:
        await write_secret(session, seed_path(role), {"word": "first"}, over=NEVER_WRITTEN)

        stored_vault.stop()
        gone = await unavailable(lambda: word(session, role))
        assert "does not answer" in str(gone)
        stored_vault.start()
        sealed = await unavailable(lambda: word(session, role))
        assert "unseal" in sealed.problem.next_action
        stored_vault.unseal()
        assert await recovered(session, role) == "first"

        stored_vault.seal()
        assert "sealed" in str(await unavailable(lambda: word(session, role)))
        async with open_session(role.login) as other:  # one that has to log in meanwhile
            assert "sealed" in str(await unavailable(lambda: word(other, role)))
            stored_vault.unseal()
            assert await recovered(other, role) == "first"
        assert await recovered(session, role) == "first"


async def test_a_server_that_is_silent_does_not_hold_the_event_loop(role: Role) -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_session(replace(role.login, address=f"http://127.0.0.1:{port}")) as session:
        asking = asyncio.create_task(unavailable(lambda: word(session, role)))
        beats = 0
        while not asking.done():
            await asyncio.sleep(0.01)
            beats += 1
        assert "does not answer" in str(await asking)
        assert beats > 100
    server.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (472, "disaster recovery secondary"),
        (473, "performance standby"),
        (501, "not initialised"),
        (502, "cannot reach what is behind it"),
        (200, "cannot reach what is behind it"),  # a page of somebody else, in front of Vault
        (412, "has not caught up"),
        (500, "fails"),
        (307, "standby that does not forward"),
    ],
)
async def test_a_vault_that_cannot_serve_now_is_unavailable(
    role: Role, status: int, said: str
) -> None:
    """By a stand-in: these belong to clusters of the enterprise edition, or to a broken one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n"
        writer.write(f"{head}Location: http://127.0.0.1:9/\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_session(replace(role.login, address=f"http://127.0.0.1:{port}")) as session:
        assert said in str(await unavailable(lambda: word(session, role)))
    server.close()


async def test_a_certificate_of_somebody_else_is_refused(stored_vault: VaultServer) -> None:
    login = replace(stored_vault.role().login, ca_file=None)
    async with open_session(login) as session:
        with pytest.raises(InvalidConfiguration) as caught:
            await session.run(lambda client: client.sys.read_seal_status(), doing="look")
    assert caught.value.problem.field == "VAULT_CACERT"


@pytest.mark.parametrize(
    "address", ["http://vault.example:8200", "vault:8200", "", "ftp://127.0.0.1", "http://"]
)
def test_an_address_that_would_send_keys_in_the_clear_is_refused(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        VaultLogin(address, tmp_path / "role-id", tmp_path / "secret-id")
    assert caught.value.problem.field == "VAULT_ADDR"


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        VaultLogin("https://vault", tmp_path, tmp_path, ca_file=tmp_path / "none.pem")
    assert caught.value.problem.field == "VAULT_CACERT"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_credentials_open_to_others_are_refused(role: Role, mode: int) -> None:
    role.secret_id_file.chmod(mode)
    async with open_session(role.login) as other:
        with pytest.raises(InvalidConfiguration, match="open to others") as caught:
            await word(other, role)
    assert caught.value.problem.actual == f"mode {mode:04o}"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
async def test_credentials_that_are_none_are_refused(role: Role, content: bytes) -> None:
    role.role_id_file.write_bytes(content)
    async with open_session(role.login) as other:
        with pytest.raises(InvalidConfiguration) as caught:
            await word(other, role)
    assert caught.value.problem.field == "DEAL_VAULT_ROLE_ID_FILE"


async def test_nothing_secret_is_in_any_text(session: VaultSession, role: Role) -> None:
    lease = session._lease
    assert lease is not None
    secret = await read_secret(session, seed_path(role))
    shown = f"{session} {session!r} {lease} {lease!r} {role.login!r} {secret} {secret!r}"
    for word_ in (lease.token.get_secret_value(), "first", role.secret_id_file.read_text().strip()):
        assert word_ not in shown
