"""Measures one signature by each key provider beside bare eth_account.

`python -m tests.performance.signatures [--signatures N]`. All sign the same kind of transaction and
take short turns, so that whatever else the machine does disturbs all alike. Vault is asked
for the seed at each signature; it and the HSM in software run on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, Final

import pytest
from eth_account import Account
from pydantic import SecretBytes

from activities.signing.providers.keystore import Keystore
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.providers.open import open_keys
from activities.signing.providers.provider import KeyProvider, deal_key
from activities.signing.providers.settings import KeySettings
from activities.signing.providers.vault import VaultKeyProvider
from domain.identifiers import Address
from domain.transactions import Fees, Intent
from tests.support.softhsm import new_token
from tests.support.vault import dev_vault, needed_vault

BARE: Final = "bare eth_account"
AIM_MS: Final = 2.0
_AIMED: Final = ("local", "pkcs11")
_TURN: Final = 25
"""Signatures one after the other, before it is the next one's turn."""
_WARM: Final = 3
"""Signatures of each turn that are not counted: the processor comes from something else."""

Sign = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Figures:
    """What was measured of one way to sign, in seconds."""

    name: str
    seconds: Sequence[float]

    @property
    def rate(self) -> float:
        """Signatures a second, one after the other."""
        return 1 / mean(self.seconds)

    @property
    def median_ms(self) -> float:
        return median(self.seconds) * 1e3

    @property
    def p99_ms(self) -> float:
        return quantiles(self.seconds, n=100, method="inclusive")[98] * 1e3


@dataclass(frozen=True)
class Results:
    """Everything that was measured, and why something was not."""

    figures: Sequence[Figures]
    missing: Sequence[str]

    def table(self) -> str:
        """As people read it; the last column is a ratio of medians."""
        bare = next(one for one in self.figures if one.name == BARE)
        head = f"{'':18}{'a second':>10}{'median':>12}{'99 %':>12}{'times bare':>12}"
        lines = [
            f"{one.name:18}{one.rate:>10,.0f}{one.median_ms:>9.2f} ms{one.p99_ms:>9.2f} ms"
            f"{one.median_ms / bare.median_ms:>12.1f}"
            for one in self.figures
        ]
        aims = [
            f"aim: {one.name} under {AIM_MS:.0f} ms: median "
            f"{'met' if one.median_ms < AIM_MS else 'missed'}, "
            f"99 % {'met' if one.p99_ms < AIM_MS else 'missed'}"
            for one in self.figures
            if one.name in _AIMED
        ]
        return "\n".join([head, *lines, *aims, *self.missing])


async def measure(signatures: int) -> Results:
    """Sign that many times with everything that is there."""
    async with AsyncExitStack() as stack:
        ways, missing = {BARE: _bare()}, []
        for name, lend in (("local", _local), ("pkcs11", _pkcs11), ("vault", _vault)):
            try:
                ways[name] = await _signing(await stack.enter_async_context(lend()))
            except pytest.skip.Exception as reason:
                missing.append(f"{name} was not measured: {reason}")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(0, signatures, _TURN):
            for name, sign in ways.items():
                taken = await _taken(sign, min(_TURN, signatures - turn))
                seconds[name].extend(taken)
    return Results([Figures(name, taken) for name, taken in seconds.items()], missing)


async def _taken(sign: Sign, signatures: int) -> list[float]:
    """Sign so often one after the other; the seconds of each, after a few that are not counted."""
    for _ in range(_WARM):
        await sign()
    seconds = []
    for _ in range(signatures):
        began = time.perf_counter()
        await sign()
        seconds.append(time.perf_counter() - began)
    return seconds


def _bare() -> Sign:
    account: Any = Account.create()
    fields = {
        "type": 2,
        "chainId": 138,
        "nonce": 1,
        "to": account.address,
        "value": 1,
        "data": "0x" + "ab" * 68,
        "gas": 60_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
        "accessList": [],
    }

    async def sign() -> object:
        return Account.sign_transaction(fields, account.key)

    return sign


async def _signing(keys: KeyProvider) -> Sign:
    ref = deal_key(1, await keys.generation())
    account = await keys.create(ref)
    intents = [_intent(account)]
    return lambda: keys.sign(ref, intents)


def _intent(account: Address) -> Intent:
    return Intent(
        intent_id="bench",
        chain_id=138,
        sender=account,
        nonce=1,
        to=account,
        value=1,
        data="0x" + "ab" * 68,
        gas_limit=60_000,
        fees=Fees(max_fee_per_gas=10**10, max_priority_fee_per_gas=10**9),
        purpose="",
    )


@asynccontextmanager
async def _local() -> AsyncIterator[KeyProvider]:
    with tempfile.TemporaryDirectory() as folder:
        keystore = Keystore(Path(folder, "keystore.json"), SecretBytes(b"of a benchmark"))
        keystore.ensure()
        yield LocalKeyProvider.open(keystore, "development")


@asynccontextmanager
async def _pkcs11() -> AsyncIterator[KeyProvider]:
    with tempfile.TemporaryDirectory() as folder:
        hsm = new_token(Path(folder))
        hsm.use()
        settings = {
            "key_provider": "pkcs11",
            "pkcs11_module": hsm.module,
            "pkcs11_token": hsm.label,
            "pkcs11_pin_file": hsm.pin_file,
        }
        async with open_keys(
            KeySettings.model_validate(settings, by_name=True), "production"
        ) as keys:
            yield keys


@asynccontextmanager
async def _vault() -> AsyncIterator[KeyProvider]:
    with dev_vault(needed_vault()) as server:
        role = server.role()
        keys = VaultKeyProvider.of(role.login, role.transit_key, role.seed_path)
        await keys.rotate_seed()
        yield keys
        await keys.close()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.signatures")
    parser.add_argument("--signatures", type=int, default=500, metavar="N", help="of each [500]")
    results = asyncio.run(measure(parser.parse_args().signatures))
    sys.stdout.write(f"{results.table()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
