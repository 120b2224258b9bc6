"""The codec's keys in a real Vault: roles that may read, one that may add, and outages."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload

from activities.vault.credentials import VaultLogin
from domain.errors import InvalidConfiguration, Unavailable
from tests.support.vault import PROJECT, VaultServer
from workers.runtime.codec import KEY_ID, EncryptingCodec
from workers.runtime.codec_keys import key_source
from workers.runtime.key_ring import CodecKey, KeyRing
from workers.runtime.key_ring_vault import VaultKeySource
from workers.runtime.settings import CodecSettings

HELLO = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')


@dataclass(frozen=True)
class Roles:
    """What `deploy/vault/setup-codec` gives out."""

    server: VaultServer
    folder: Path
    name: str

    @property
    def path(self) -> str:
        return f"deal/{self.name}/keys"

    def source(self, role: str) -> VaultKeySource:
        folder = self.folder / role
        login = VaultLogin(
            self.server.address,
            folder / "role-id",
            folder / "secret-id",
            ca_file=self.server.ca_file,
        )
        return VaultKeySource(login, self.path)


def set_up(server: VaultServer, folder: Path) -> Roles:
    name = f"codec-{uuid4().hex[:8]}"
    done = subprocess.run(
        [str(PROJECT / "deploy" / "vault" / "setup-codec"), str(folder), name],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "VAULT": str(server.program),
            "VAULT_ADDR": server.address,
            "VAULT_TOKEN": server.root,
            **({"VAULT_CACERT": str(server.ca_file)} if server.ca_file else {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return Roles(server, folder, name)


@pytest.fixture
def roles(vault: VaultServer, tmp_path: Path) -> Roles:
    return set_up(vault, tmp_path)


async def test_a_key_that_one_role_adds_is_read_by_the_other(roles: Roles) -> None:
    assert await roles.source("reader").read() == ()
    keys = [CodecKey.generate() for _ in range(3)]
    for key in keys:
        await roles.source("rotation").add(key)
    assert await roles.source("reader").read() == tuple(keys)


async def test_who_only_reads_cannot_add(roles: Roles) -> None:
    await roles.source("rotation").add(CodecKey.generate())
    with pytest.raises(InvalidConfiguration, match="Vault does not let us"):
        await roles.source("reader").add(CodecKey.generate())


async def test_rotations_at_once_keep_every_key(roles: Roles) -> None:
    keys = [CodecKey.generate() for _ in range(3)]
    await asyncio.gather(*(roles.source("rotation").add(key) for key in keys))
    assert {k.key_id for k in await roles.source("reader").read()} == {k.key_id for k in keys}


async def test_other_contents_are_refused_without_repeating_them(roles: Roles) -> None:
    roles.server.admin.secrets.kv.v2.create_or_update_secret(
        f"{roles.name}/keys", {"word": "opensesame"}, cas=0, mount_point="deal"
    )
    with pytest.raises(InvalidConfiguration, match="no keys of a codec") as caught:
        await roles.source("reader").read()
    assert "opensesame" not in repr(caught.value.problem)


async def test_payloads_are_encrypted_while_vault_is_sealed_and_rotated_when_it_is_back(
    stored_vault: VaultServer, tmp_path: Path
) -> None:
    roles, now = set_up(stored_vault, tmp_path), 0.0
    await roles.source("rotation").add(first := CodecKey.generate())
    process = EncryptingCodec(KeyRing(roles.source("reader"), lambda: now), "default")
    encoded = await process.encode([HELLO])
    stored_vault.seal()
    now += 61
    (again,) = await process.encode([HELLO])
    assert again.metadata[KEY_ID].decode() == first.key_id
    assert await process.decode(encoded) == [HELLO]
    with pytest.raises(Unavailable):
        await KeyRing(roles.source("reader")).load()
    stored_vault.unseal()
    await roles.source("rotation").add(second := CodecKey.generate())
    now += 61
    (after,) = await process.encode([HELLO])
    assert after.metadata[KEY_ID].decode() == second.key_id


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch, roles: Roles) -> None:
    for name, value in {
        "VAULT_ADDR": roles.server.address,
        "DEAL_VAULT_ROLE_ID_FILE": str(roles.folder / "reader" / "role-id"),
        "DEAL_VAULT_SECRET_ID_FILE": str(roles.folder / "reader" / "secret-id"),
        "DEAL_CODEC_VAULT_PATH": roles.path,
    }.items():
        monkeypatch.setenv(name, value)
    source = key_source(CodecSettings.load())
    assert isinstance(source, VaultKeySource)
    assert asyncio.run(source.read()) == ()
