"""Encryption by Vault's transit engine: its keys never leave Vault, and their versions rotate.

Keys are AES-256-GCM with key derivation. The context, from which each use's own key is derived,
stands for associated data: what was encrypted under one context cannot be decrypted under another.
Transit's own associated data would do as well, were they not ignored by its rewrapping, which has
to be possible without the plaintext leaving Vault.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import hvac
from pydantic import SecretBytes

from activities.vault.answers import BAD_REQUEST, VaultAnswer
from activities.vault.session import VaultSession
from domain.errors import InvalidConfiguration

_PREFIX: Final = "vault:v"


@dataclass(frozen=True, slots=True)
class TransitKey:
    """One key of the engine that is mounted at `mount`."""

    session: VaultSession
    name: str
    mount: str = "transit"

    async def encrypt(self, plaintext: SecretBytes, context: str) -> str:
        """Encrypt under the newest version; the text names it. Raises as `VaultSession.run`."""
        answer = await self._run(
            lambda client: client.secrets.transit.encrypt_data(
                self.name,
                _base64(plaintext.get_secret_value()),
                context=_base64(context.encode()),
                mount_point=self.mount,
            ),
            "encrypt",
        )
        return str(answer["data"]["ciphertext"])

    async def decrypt(self, ciphertext: str, context: str) -> SecretBytes:
        """Decrypt.

        Raises `InvalidConfiguration` if it was not encrypted by this key under this context, was
        changed since, or is of a version that was retired; and as `VaultSession.run` does.
        """
        answer = await self._run(
            lambda client: client.secrets.transit.decrypt_data(
                self.name, ciphertext, context=_base64(context.encode()), mount_point=self.mount
            ),
            "decrypt",
        )
        return SecretBytes(base64.b64decode(answer["data"]["plaintext"]))

    async def rewrap(self, ciphertext: str, context: str) -> str:
        """Encrypt what is in a ciphertext under the newest version, inside Vault.

        Raises as `decrypt` does.
        """
        answer = await self._run(
            lambda client: client.secrets.transit.rewrap_data(
                self.name, ciphertext, context=_base64(context.encode()), mount_point=self.mount
            ),
            "rewrap",
        )
        return str(answer["data"]["ciphertext"])

    async def rotate(self) -> None:
        """Add a version, which encrypts from now on. Raises as `VaultSession.run` does."""
        await self._run(
            lambda client: client.secrets.transit.rotate_key(self.name, mount_point=self.mount),
            "rotate",
        )

    async def retire_before(self, version: int) -> None:
        """Decrypt nothing any more that is of an older version. Raises as `VaultSession.run`."""
        await self._run(
            lambda client: client.secrets.transit.update_key_configuration(
                self.name, min_decryption_version=version, mount_point=self.mount
            ),
            "retire old versions of",
        )

    async def _run(self, work: Callable[[hvac.Client], Any], verb: str) -> Any:  # noqa: ANN401 - as hvac returns it
        doing = f"{verb} with the transit key {self.name}"
        try:
            return await self.session.run(work, doing=doing)
        except VaultAnswer as refused:
            if refused.status == BAD_REQUEST and verb in ("decrypt", "rewrap"):
                raise self._undecryptable(refused) from None
            raise refused.error(doing, self.session.address) from None

    def _undecryptable(self, refused: VaultAnswer) -> InvalidConfiguration:
        return InvalidConfiguration(
            "what is kept in Vault cannot be decrypted",
            field="DEAL_VAULT_TRANSIT_KEY",
            value=f"{self.mount}/{self.name}",
            limit="the key it was encrypted with, and the ciphertext as it was written",
            actual="; ".join(refused.errors),
            next_action="restore the last good version with `vault kv rollback`; "
            "see docs/runbooks/keys.md, section Vault",
        )


def version_of(ciphertext: str) -> int:
    """The version of the key that a ciphertext names. Raises `ValueError` if it is none."""
    if not ciphertext.startswith(_PREFIX):
        msg = "not a ciphertext of transit"
        raise ValueError(msg)
    return int(ciphertext[len(_PREFIX) :].partition(":")[0])


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
