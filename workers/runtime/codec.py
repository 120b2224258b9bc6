"""What Temporal keeps of us: payloads encrypted, failures without their words.

Every input, result, update, summary and failure goes through `data_converter`; Temporal, its
database and whoever reads either sees ciphertext. Search attributes do not: they hold ids and
statuses only.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidTag
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from domain.errors import InvalidInput
from workers.runtime.key_ring import KeyRing

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
CIPHER: Final = "encryption-cipher"
_AES_256_GCM: Final = b"AES-256-GCM"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORMAT: Final = b"deal-orchestrator payload 1"


class EncryptingCodec(PayloadCodec):
    """AES-256-GCM, a fresh nonce for each payload.

    The ciphertext is bound to the format, the key's id and the namespace, so that a payload of one
    namespace is none in another. What is not encrypted is passed on as it is: histories from
    before the codec, and what people send by Temporal's own tools.
    """

    def __init__(self, keys: KeyRing, namespace: str) -> None:
        """Take the keys, and the namespace that payloads belong to."""
        self._keys = keys
        self._namespace = namespace.encode()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload, metadata included, with the newest key."""
        key_id, cipher = await self._keys.newest()
        bound = self._bound_to(key_id)
        encoded = []
        for payload in payloads:
            nonce = os.urandom(_NONCE_BYTES)
            sealed = cipher.encrypt(nonce, payload.SerializeToString(), bound)
            metadata = {"encoding": ENCODING, CIPHER: _AES_256_GCM, KEY_ID: key_id.encode()}
            encoded.append(Payload(metadata=metadata, data=nonce + sealed))
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload with the key that it names.

        Raises `InvalidConfiguration` if nobody has that key, and `InvalidInput` if the payload is
        damaged or belongs to another namespace.
        """
        return [await self._decoded(payload) for payload in payloads]

    async def _decoded(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID, b"").decode(errors="replace")
        if len(payload.data) < _NONCE_BYTES + _TAG_BYTES:
            raise _damaged(key_id)
        cipher = await self._keys.find(key_id)
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, self._bound_to(key_id)))
        except InvalidTag:
            raise _damaged(key_id) from None

    def _bound_to(self, key_id: str) -> bytes:
        return b"\0".join((_FORMAT, self._namespace, key_id.encode()))


def data_converter(codec: PayloadCodec | None) -> DataConverter:
    """Return the one converter; without a codec payloads stay readable, but it is the same."""
    return replace(
        pydantic_data_converter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def _damaged(key_id: str) -> InvalidInput:
    return InvalidInput(
        "a payload cannot be decrypted: it was changed, or belongs to another namespace",
        field=KEY_ID,
        value=key_id,
        limit="a payload of this namespace, unchanged",
        next_action="check TEMPORAL_NAMESPACE; if it is right, find out who changed the payload",
    )
