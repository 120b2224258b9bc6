"""Ethereum hashes with Keccak-256 as it was before it became SHA-3."""

import hashlib

import pytest

from domain.hashing import keccak


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (
            b"transfer(address,uint256)",
            "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b",
        ),
        (
            b"Transfer(address,address,uint256)",
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
    ],
)
def test_well_known_digests_are_met(data: bytes, digest: str) -> None:
    assert keccak(data).hex() == digest
    assert keccak(data) != hashlib.sha3_256(data).digest()
