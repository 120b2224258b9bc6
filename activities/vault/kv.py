"""Secrets of Vault's KV engine, version 2: read, and written by check-and-set only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from activities.vault.answers import BAD_REQUEST, NOT_FOUND, VaultAnswer
from activities.vault.session import VaultSession
from domain.errors import Conflict, InvalidConfiguration, NotFound

NEVER_WRITTEN: Final = 0
"""The version to write over where there must be nothing yet."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """One version of a secret; its data are in no text that is made of it."""

    data: Mapping[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class KvPath:
    """Where a secret is: the engine's mount and the path in it."""

    mount: str
    path: str

    @classmethod
    def parse(cls, text: str, *, setting: str) -> "KvPath":
        """Read ``mount/path/of/secret``. Raises `InvalidConfiguration` naming the setting."""
        mount, _, path = text.strip("/").partition("/")
        if not mount or not path:
            raise InvalidConfiguration(
                "this is not the path of a secret in Vault",
                field=setting,
                value=text,
                limit="mount/path",
                next_action=f"set {setting} to the mount of a KV version 2 engine and a path in it",
            )
        return cls(mount, path)

    def __str__(self) -> str:
        """As people and `vault kv` write it."""
        return f"{self.mount}/{self.path}"


async def read_secret(session: VaultSession, path: KvPath) -> Secret:
    """Read the newest version.

    Raises `NotFound` if it was never written or was deleted, and as `VaultSession.run` does.
    """
    try:
        answer = await session.run(
            lambda client: client.secrets.kv.v2.read_secret_version(
                path.path, mount_point=path.mount, raise_on_deleted_version=True
            ),
            doing=f"read {path}",
        )
    except VaultAnswer as refused:
        if refused.status != NOT_FOUND:
            raise refused.error(f"read {path}", session.address) from None
        raise _missing(path) from None
    return Secret(answer["data"]["data"], int(answer["data"]["metadata"]["version"]))


async def write_secret(
    session: VaultSession, path: KvPath, data: Mapping[str, Any], *, over: int
) -> int:
    """Write the version that follows `over`, and return its number.

    Raises `Conflict` if another version is the newest, and as `VaultSession.run` does.
    """
    try:
        answer = await session.run(
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                path.path, secret=dict(data), cas=over, mount_point=path.mount
            ),
            doing=f"write {path}",
        )
    except VaultAnswer as refused:
        if refused.status == BAD_REQUEST and refused.says("check-and-set"):
            raise _overtaken(path, over) from None
        raise refused.error(f"write {path}", session.address) from None
    return int(answer["data"]["version"])


def _missing(path: KvPath) -> NotFound:
    return NotFound(
        f"there is nothing at {path} in Vault",
        field="path",
        value=path,
        limit="a secret that was written and not deleted",
        next_action="set it up, or if it was deleted restore it with `vault kv undelete`; "
        "see docs/runbooks/keys.md, section Vault",
    )


def _overtaken(path: KvPath, over: int) -> Conflict:
    return Conflict(
        f"somebody else has written {path} in the meantime",
        field="version",
        value=over,
        limit="the newest version",
        next_action="read it again, and write only if it is still needed",
    )
