"""What gives a key away: its bytes in every form in which they are usually written."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from eth_account import Account
from eth_account.hdaccount.deterministic import HDPath
from eth_account.hdaccount.mnemonic import Mnemonic
from pydantic import SecretBytes

from activities.signing.providers.keystore import Keystore, read_passphrase
from activities.signing.providers.provider import FEE, TREASURY, KeyRef, deal_key
from starters.local.workers import keystore_file, passphrase_file

_TRACE = 16
_SHORTEST = 6
"""Bytes: by chance in a dump once in a hundred thousand."""
_TRIPLE = 3


class Needles:
    """Names of secrets, and for each the bytes by which it is recognised, wherever they are."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        """Take the secrets; each is looked for in every form."""
        self.forms = {
            f"{name}, {form}": text
            for name, secret in secrets.items()
            for form, text in _forms(secret).items()
        }
        self._names: dict[bytes, list[str]] = {}
        for name, text in self.forms.items():
            self._names.setdefault(_trace(text), []).append(name)

    def found_in(self, haystack: bytes | Path) -> set[str]:
        """The forms of which there is a trace in these bytes, or in this file."""
        with NamedTemporaryFile() as patterns:
            patterns.write(b"\n".join(self._names))
            patterns.flush()
            command = ["grep", "--fixed-strings", "--text", "--only-matching", "-f", patterns.name]
            if isinstance(haystack, Path):
                command.append(str(haystack))
            done = subprocess.run(
                command,
                input=b"" if isinstance(haystack, Path) else haystack,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},  # bytes, not characters
                capture_output=True,
                check=False,
            )
        assert done.returncode in (0, 1), done.stderr
        return {name for trace in set(done.stdout.splitlines()) for name in self._names[trace]}


def _trace(form: bytes) -> bytes:
    """A piece to recognise a form by: of its second half, since an allocator begins at the start.

    Without line ends, by which ``grep`` tells patterns apart.
    """
    pieces = form[len(form) // 2 :].split(b"\n")
    longest = max(pieces, key=len)[:_TRACE]
    assert len(longest) >= _SHORTEST
    return longest


def _forms(secret: bytes) -> dict[str, bytes]:
    digits = secret.hex()
    # Within other bytes Base64 begins anywhere: of each alignment what depends on the secret only.
    aligned = {}
    for shift in range(_TRIPLE):
        whole = secret[(-shift) % _TRIPLE :]
        aligned[f"base64 {shift}"] = b64encode(whole[: len(whole) - len(whole) % _TRIPLE])
    return {
        "raw": secret,
        "backwards": secret[::-1],  # as libsecp256k1 keeps a scalar on this machine
        "hex": digits.encode(),
        "HEX": digits.upper().encode(),
        **aligned,
    }


def secrets_of(seed: bytes, entropy: bytes | None, deals: int) -> dict[str, bytes]:
    """A seed, what it came from, and the keys of treasury, fee account and the first deals."""
    refs: dict[str, KeyRef] = {"treasury key": TREASURY, "fee key": FEE}
    refs |= {f"key of deal {index}": deal_key(index) for index in range(deals)}
    found = {"seed": seed} | {name: HDPath(ref.path).derive(seed) for name, ref in refs.items()}
    if entropy is not None:
        found["entropy"] = entropy
        found["mnemonic"] = Mnemonic().to_mnemonic(entropy).encode()
    return found


def accounts_of(secrets: Mapping[str, bytes]) -> set[str | None]:
    """The accounts whose keys are among them."""
    return {Account.from_key(key).address for name, key in secrets.items() if "key" in name}


def secrets_of_keystore(stack: Path, deals: int) -> dict[str, bytes]:
    """Everything secret of a stack's keystore, read as its owner may."""
    passphrase = read_passphrase(passphrase_file(stack)).get_secret_value()
    keystore = Keystore(keystore_file(stack), SecretBytes(passphrase))
    (entropy,) = (each.get_secret_value() for each in keystore.read())
    seed = Mnemonic.to_seed(Mnemonic().to_mnemonic(entropy))
    return secrets_of(seed, entropy, deals) | {"passphrase": passphrase}
