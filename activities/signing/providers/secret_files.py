"""Files with secrets in them: read only if nobody but their owner can."""

import os
import stat
from pathlib import Path
from typing import Final

from pydantic import SecretBytes

from domain.errors import InvalidConfiguration

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_secret_line(path: Path, field: str, kind: str) -> SecretBytes:
    """Read a secret of one line, without the line end; `kind` says what it is.

    Raises `InvalidConfiguration` if the file is missing, empty, or open to anybody but its owner.
    """
    secret = read_private(path, field).rstrip(b"\r\n")
    if not secret:
        raise InvalidConfiguration(
            f"the {kind} file is empty",
            field=field,
            value=path,
            limit="one line of text",
            next_action=f"write the {kind} into it",
        )
    return SecretBytes(secret)


def read_private(path: Path, field: str) -> bytes:
    """Read a file that only its owner can, checked on the very file that is read.

    Raises `InvalidConfiguration`; `field` names the setting that the path came from.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = b"" if mode & _OTHERS else file.read()
    except OSError as error:
        raise unusable(path, field, error) from None
    if mode & _OTHERS:
        raise InvalidConfiguration(
            f"{path.name} is open to others than its owner",
            field=field,
            value=path,
            limit="mode 0600 or 0400",
            actual=f"mode {stat.S_IMODE(mode):04o}",
            next_action=f"chmod 600 {path}, and think about who may have read it",
        )
    return content


def unusable(path: Path, field: str, error: OSError) -> InvalidConfiguration:
    """The error of a file that the system does not give."""
    return InvalidConfiguration(
        f"{path.name} cannot be used: {error.strerror}",
        field=field,
        value=path,
        limit="a file in a folder that this process may use",
        next_action="correct the path, or make the file; `python -m workers.signer init` makes a "
        "keystore where there is none",
    )
