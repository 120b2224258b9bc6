"""What the payload codec costs: ``python -m tests.performance.codec``.

Payloads of a kept history, converted as the SDK does it, with the codec and without; both in one
run, so that the ratio stands whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from base64 import b64decode
from typing import Any, Final

from temporalio.api.common.v1 import Payload

from tests.replay.export import HISTORIES
from tests.support.codec import encrypting_converter

_ROUNDS: Final = 200
_SIZES: Final = (1_000, 10_000, 100_000)


def payloads_in(told: Any) -> list[Payload]:
    """Every payload of a history that is kept as JSON."""
    if isinstance(told, dict):
        if "data" in told and "metadata" in told:
            metadata = {key: b64decode(value) for key, value in told["metadata"].items()}
            return [Payload(metadata=metadata, data=b64decode(told["data"]))]
        return [payload for each in told.values() for payload in payloads_in(each)]
    if isinstance(told, list):
        return [payload for each in told for payload in payloads_in(each)]
    return []


async def _microseconds(payloads: list[Payload]) -> tuple[float, float]:
    """The time to encode, and to decode, one payload."""
    codec = encrypting_converter().payload_codec
    assert codec is not None
    encoded = await codec.encode(payloads)
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        await codec.encode(payloads)
    between = time.perf_counter()
    for _ in range(_ROUNDS):
        await codec.decode(encoded)
    ended = time.perf_counter()
    scale = 1e6 / _ROUNDS / len(payloads)
    return (between - began) * scale, (ended - between) * scale


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


async def measured() -> None:
    """Print the table."""
    history = payloads_in(json.loads((HISTORIES / "completed.json").read_text()))
    size = sum(payload.ByteSize() for payload in history)
    encoded = await encrypting_converter().payload_codec.encode(history)  # type: ignore[union-attr]
    kept = sum(payload.ByteSize() for payload in encoded)
    both = await _microseconds(history)
    _say(f"{len(history)} payloads of a deal, {size:,} bytes; encrypted {kept / size:.3f} of that")
    _say(f"each: encode {both[0]:.1f} us, decode {both[1]:.1f} us")
    _say(f"a whole deal, each payload once each way: {sum(both) * len(history) / 1000:.2f} ms")
    for length in _SIZES:
        encode, decode = await _microseconds([Payload(data=bytes(length))])
        _say(f"{length:>7,} bytes: encode {encode:.1f} us, decode {decode:.1f} us")


if __name__ == "__main__":
    asyncio.run(measured())
