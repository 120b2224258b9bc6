"""Keccak-256, with the backend chosen here instead of looked for at the first call.

Looking for one reads the environment, which workflow code must not do.
"""

from eth_hash.backends import pycryptodome
from eth_hash.main import Keccak256

keccak = Keccak256(pycryptodome.backend)
keccak(b"")
