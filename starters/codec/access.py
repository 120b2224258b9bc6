"""Who may ask the codec server: one page, and whoever has the token."""

import hmac
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from domain.errors import InvalidConfiguration
from domain.masking import remember
from workers.runtime.settings import CodecServerSettings

_BEARER = "Bearer "
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Refused(Exception):
    """A request that gets no answer; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        """Say why, without repeating what was sent."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Access:
    """The rules for one server."""

    host: str
    port: int
    origin: str | None
    token: SecretStr | None

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Refuse scripts of any other page, also one that took a name for this machine's."""
        origin = headers.get("Origin")
        if origin is not None and origin != self.origin:
            raise Refused(403, "not the Web UI's origin")
        if self.token is None and headers.get("Host") not in self._own_names():
            raise Refused(403, "asked under another host's name")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse whoever lacks the token, where there is one."""
        if self.token is None:
            return
        sent = headers.get("Authorization", "")
        expected = _BEARER + self.token.get_secret_value()
        if not hmac.compare_digest(sent.encode(), expected.encode()):
            raise Refused(401, "a bearer token is needed")

    def _own_names(self) -> set[str]:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return {f"{name}:{self.port}" for name in (host, "localhost")}


def access_from(settings: CodecServerSettings) -> Access:
    """Return the rules that the settings make.

    Raises `InvalidConfiguration` for an address that is none, a token file that cannot be used,
    and a server that anybody could ask: without a token in production, or beyond loopback.
    """
    host, port = _address(settings.codec_server_address)
    file = settings.codec_server_token_file
    if file is None and (settings.environment == "production" or not _is_loopback(host)):
        raise InvalidConfiguration(
            "anybody could have payloads decrypted by this codec server",
            field="DEAL_CODEC_SERVER_TOKEN_FILE",
            limit="a token in production, and wherever it does not listen on loopback",
            actual=f"{settings.environment}, {settings.codec_server_address}",
            next_action="write a token to a file and name it",
        )
    token = None if file is None else _token(file)
    return Access(host, port, _origin(settings.web_ui), token)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host and port.isdecimal() and 0 < int(port) < 2**16:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise InvalidConfiguration(
        "the codec server cannot listen there",
        field="DEAL_CODEC_SERVER_ADDRESS",
        value=text,
        limit="host:port",
        next_action="correct it, or leave it out for 127.0.0.1:8081",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(web_ui: str | None) -> str | None:
    if not web_ui:
        return None
    parts = urlsplit(web_ui)
    return f"{parts.scheme}://{parts.netloc}"


def _token(file: Path) -> SecretStr:
    try:
        with file.open() as opened:
            private = not os.fstat(opened.fileno()).st_mode & _OTHERS
            token = opened.read().strip() if private else ""
    except (OSError, UnicodeDecodeError):
        private, token = True, ""
    if token:
        remember(token)
        return SecretStr(token)
    raise InvalidConfiguration(
        "the token of the codec server cannot be used",
        field="DEAL_CODEC_SERVER_TOKEN_FILE",
        value=file,
        limit="a file with one line, mode 0600 or 0400",
        actual="empty, or not to be read" if private else "it is open to others than its owner",
        next_action="correct the file",
    )
