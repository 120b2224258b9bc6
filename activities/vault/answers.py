"""What Vault's answers mean: which of them pass by themselves, and what a person has to mend.

Source of the status codes: Vault's HTTP API, "HTTP Status Codes", and ``sys/health``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests
from hvac.adapters import JSONAdapter

from domain.errors import DealError, InvalidConfiguration, Unavailable

FORBIDDEN: Final = 403
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
_RATE_LIMITED: Final = 429
_SERVER_ERROR: Final = 500
_NOT_VAULT: Final = 502
_REDIRECTIONS: Final = range(300, 400)
_DEFAULT_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0

_PASSING: Final[Mapping[int, tuple[str, str]]] = {
    412: ("has not caught up yet", "wait: it is tried again"),
    429: ("limits our rate", "wait, or raise Vault's rate limit quota for this client"),
    472: ("is a disaster recovery secondary", "promote it, or set VAULT_ADDR to the primary"),
    473: (
        "is a performance standby",
        "wait for an active node, or set VAULT_ADDR to the active one",
    ),
    501: ("is not initialised", "initialise and unseal it, or set VAULT_ADDR to the right one"),
    502: ("cannot reach what is behind it", "look at the log of the Vault server"),
    503: ("is sealed or in maintenance", "unseal it with `vault operator unseal`"),
}
"""Answers that pass without anything being changed here: what Vault is, and what to do."""


class VaultAnswer(Exception):
    """An answer of Vault that is not a success; it never leaves this package.

    It carries Vault's own sentences and nothing of the request.
    """

    def __init__(self, status: int, errors: Sequence[str] = (), retry_after: str = "") -> None:
        """Keep the status, Vault's sentences and the ``Retry-After`` of a rate limit."""
        super().__init__(status)
        self.status = status
        self.errors = tuple(errors)
        self._retry_after = retry_after

    @property
    def wait_seconds(self) -> float:
        """How long Vault asks us to keep away; 0 unless it limits our rate."""
        if self.status != _RATE_LIMITED:
            return 0.0
        try:
            asked = float(self._retry_after)
        except ValueError:
            return _DEFAULT_WAIT_SECONDS
        return min(max(asked, 0.0), _LONGEST_WAIT_SECONDS)

    def says(self, words: str) -> bool:
        """Whether one of Vault's sentences has these words."""
        return any(words in error for error in self.errors)

    def error(self, doing: str, address: str) -> DealError:
        """The error of our tree: `Unavailable` for what passes, else `InvalidConfiguration`."""
        if passing := _PASSING.get(self.status):
            state, action = passing
            return away(f"Vault {state}", address, self._said(), action)
        if self.status >= _SERVER_ERROR:
            return away("Vault fails", address, self._said(), "look at the log of the Vault server")
        if self.status in _REDIRECTIONS:
            return away(
                "Vault is a standby that does not forward requests",
                address,
                self._said(),
                "allow request forwarding, or set VAULT_ADDR to the active node",
            )
        return InvalidConfiguration(
            f"Vault does not let us {doing}",
            field="VAULT_ADDR",
            value=address,
            limit="the role, policies and paths of deploy/vault",
            actual=self._said(),
            next_action="compare Vault with docs/runbooks/keys.md, section Vault",
        )

    def _said(self) -> str:
        return f"status {self.status}: {'; '.join(self.errors) or 'no explanation'}"


class AnswerAdapter(JSONAdapter):  # type: ignore[misc]  # hvac has no types
    """Raises `VaultAnswer` for everything that is not a success, redirections included.

    hvac's own errors carry neither ``Retry-After`` nor only what may be shown.
    """

    def request(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as hvac has it
        """Return what hvac returns; JSON for most."""
        answer = super().request(*arguments, **options)
        if isinstance(answer, requests.Response):
            if answer.is_redirect:
                raise VaultAnswer(answer.status_code)
            if answer.status_code == requests.codes.OK:
                raise VaultAnswer(_NOT_VAULT, ["what answered there is not Vault"])
        return answer

    def _raise_for_error(self, method: str, url: str, response: requests.Response) -> None:  # noqa: ARG002 - hvac's hook
        raise VaultAnswer(
            response.status_code, _errors(response), response.headers.get("Retry-After", "")
        )


def away(what: str, address: str, actual: str, action: str) -> Unavailable:
    """Vault cannot serve now; whoever asked may ask again."""
    return Unavailable(what, field="VAULT_ADDR", value=address, actual=actual, next_action=action)


def _errors(response: requests.Response) -> list[str]:
    """Vault's sentences, each on one line."""
    try:
        errors = response.json().get("errors") or []
    except (ValueError, AttributeError):
        return []
    return [" ".join(str(error).split()) for error in errors]
