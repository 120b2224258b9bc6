"""A payload codec with a key of its own, for servers that a test starts itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from temporalio.converter import DataConverter

from workers.runtime.codec import EncryptingCodec, data_converter
from workers.runtime.key_ring import CodecKey, FileKeySource, KeyRing


class Shelf:
    """Keys in memory; counts how often they are read."""

    def __init__(self, *keys: CodecKey) -> None:
        self.keys = list(keys)
        self.readings = 0

    async def read(self) -> tuple[CodecKey, ...]:
        self.readings += 1
        return tuple(self.keys)

    async def add(self, key: CodecKey) -> None:
        self.keys.append(key)


def encrypting_converter(namespace: str = "default") -> DataConverter:
    """The converter of our own `connect`, with a key that is nowhere kept."""
    return data_converter(EncryptingCodec(KeyRing(Shelf(CodecKey.generate())), namespace))


def codec_variables(folder: Path) -> dict[str, str]:
    """Make a key file in the folder; what tells a process of it."""
    file = folder / "codec-keys.json"
    asyncio.run(FileKeySource(file).add(CodecKey.generate()))
    return {"DEAL_CODEC_KEYS": "file", "DEAL_CODEC_KEYS_FILE": str(file)}
