"""SoftHSM2, a real PKCS#11 module in software: tokens in a folder of the test's own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_TOOL: Final = "softhsm2-util"
_CONFIGURATION: Final = "SOFTHSM2_CONF"


@dataclass(frozen=True)
class SoftHsm:
    """A folder with one token, and what a signer needs to use it."""

    folder: Path
    module: str
    label: str

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    @property
    def environment(self) -> dict[str, str]:
        """What a signer process is given."""
        return {
            "KEY_PROVIDER": "pkcs11",
            "DEAL_PKCS11_MODULE": self.module,
            "DEAL_PKCS11_TOKEN": self.label,
            "DEAL_PKCS11_PIN_FILE": str(self.pin_file),
            _CONFIGURATION: str(self.folder / "softhsm2.conf"),
        }

    def use(self) -> None:
        """Have this very process see the token, and no other, from its next login on."""
        os.environ[_CONFIGURATION] = self.environment[_CONFIGURATION]

    def take_away(self) -> None:
        """Pull the token out."""
        (self.folder / "tokens").rename(self.folder / "drawer")
        (self.folder / "tokens").mkdir()

    def put_back(self) -> None:
        """Plug it in again."""
        (self.folder / "tokens").rmdir()
        (self.folder / "drawer").rename(self.folder / "tokens")


def new_token(folder: Path) -> SoftHsm:
    """Make a token, with a PIN of its own in a file."""
    hsm = SoftHsm(folder, _module(), label=f"deals-{secrets.token_hex(4)}")
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
    )
    pin = secrets.token_hex(8)
    hsm.pin_file.touch(mode=0o600)
    hsm.pin_file.write_text(pin)
    subprocess.run(
        [_TOOL, "--init-token", "--free", "--label", hsm.label, "--pin", pin, "--so-pin", pin],
        check=True,
        capture_output=True,
        env=os.environ | hsm.environment,
    )
    return hsm


def _module() -> str:
    """The library's path; without it a test is skipped, or fails where nothing may be missing."""
    found = next((path for path in _MODULES if Path(path).exists()), None)
    if found is not None and shutil.which(_TOOL) is not None:
        return found
    reason = "SoftHSM2 is not installed: install the Debian package softhsm2"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
