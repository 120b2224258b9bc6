"""Settings of the API process, from environment variables."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from domain.errors import InvalidConfiguration
from workers.runtime.settings import ClientSettings

Network = IPv4Network | IPv6Network

_HOST_LIMIT: Final = "host:port, or a port of loopback"


def _words(value: object) -> object:
    """Take a list apart that is written with commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        ip_network(value)
    return values


def _rate(value: str) -> str:
    parse(value)
    return value


_Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
_Networks = Annotated[_Words, AfterValidator(_networks)]
_Rate = Annotated[str, AfterValidator(_rate)]


class ApiSettings(ClientSettings):
    """Where the API listens, whom it lets in, and how much of it anybody may use."""

    redis_url: SecretStr | None = None
    """Where requests are counted for all API processes together."""
    api_address: str = "127.0.0.1:8080"
    """``host:port``, or a port of loopback; TLS ends before it."""
    api_allowed_networks: _Networks = ()
    """Who may ask at all, such as ``10.1.0.0/16, 127.0.0.1/32``; needed beyond loopback."""
    api_trusted_proxies: _Networks = ()
    """Whose word about where a request comes from (``X-Forwarded-For``) is taken."""
    api_cors_origins: _Words = ()
    """Pages whose scripts may ask; none by default."""
    api_docs: bool = False
    """Whether pages to read the document with are served; never by default in production."""
    api_body_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = 256 * 1024
    api_request_seconds: Annotated[float, Field(gt=0, le=600)] = 75.0
    """How long one request may take; longer than a workflow's answer may take."""
    api_lease_seconds: Annotated[float, Field(gt=0, le=3600)] = 90.0
    """How long a request with an Idempotency-Key counts as under way after its process died."""
    api_followers: Annotated[int, Field(ge=1)] = 20
    """Streams of events that one caller may hold open."""
    api_rate_address: _Rate = "1200/minute"
    api_rate_unauthenticated: _Rate = "30/minute"
    api_rate_read: _Rate = "600/minute"
    api_rate_safety: _Rate = "120/minute"
    api_rate_change: _Rate = "60/minute"
    api_rate_launch: _Rate = "30/minute"

    def rate(self, name: str) -> RateLimitItem:
        """The limit of this name, such as ``read``."""
        return parse(getattr(self, f"api_rate_{name}"))

    def networks(self, field: str) -> tuple[Network, ...]:
        """One of the lists of networks."""
        return tuple(ip_network(text) for text in getattr(self, field))

    def listens_on(self) -> tuple[str, int]:
        """Host and port. Raises `InvalidConfiguration` if it cannot be, or if anybody could ask."""
        host, _, port = self.api_address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
        if not port.isdecimal() or not int(port) < 2**16:
            raise InvalidConfiguration(
                "the API cannot listen there",
                field="DEAL_API_ADDRESS",
                value=self.api_address,
                limit=_HOST_LIMIT,
                next_action="correct it, or leave it out for 127.0.0.1:8080",
            )
        if not _is_loopback(host) and not self.api_allowed_networks:
            raise InvalidConfiguration(
                "anybody could reach this API",
                field="DEAL_API_ALLOWED_NETWORKS",
                limit="the networks that may ask, wherever it does not listen on loopback",
                actual=self.api_address,
                next_action="name them; 0.0.0.0/0, ::/0 says that everybody is meant",
            )
        return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
