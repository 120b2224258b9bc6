"""One PKCS#11 token and one login to it, opened again whenever it was lost.

Everything here blocks and belongs to one thread: a token's login is the whole process's, and an
object's handle means nothing in another session.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
import structlog
from pkcs11.exceptions import PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked
from pydantic import SecretBytes

from activities.signing.providers.secret_files import read_secret_line
from domain.errors import InvalidConfiguration, Unavailable

_PIN: Final = "DEAL_PKCS11_PIN_FILE"
_PIN_REFUSED: Final = (PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinExpired)

# Beginning anew ends every session of the process, and nothing may be under way meanwhile: what a
# library then reads or writes is no longer its own.
_library_in_use: Final = threading.Lock()

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Token:
    """A token by its label. The PIN is read when it is needed, and kept by nobody."""

    def __init__(self, module: Path, label: str, pin_file: Path) -> None:
        """Name the token; nothing is opened yet."""
        self._module = module
        self._label = label
        self._pin_file = pin_file
        self._session: pkcs11.Session | None = None
        self._refused: SecretBytes | None = None
        self.logins = 0
        """How often it was logged in to: what was found in an earlier session is void."""

    def run(self, operation: Callable[[pkcs11.Session], T]) -> T:
        """Run the operation in the session; in a new one if the first was lost meanwhile.

        So it has to be one that may be repeated. Raises `Unavailable` while there is no session to
        be had, and `InvalidConfiguration` for a module, a label or a PIN that is wrong.
        """
        with _library_in_use:
            return self._run(operation)

    def forget(self) -> None:
        """Have the next operation begin a new session."""
        self._session = None

    def close(self) -> None:
        """Log out; whatever comes after logs in again."""
        session, self._session = self._session, None
        if session is not None:
            try:
                with _library_in_use:
                    session.close()
            except pkcs11.PKCS11Error:
                _log.warning("the HSM's session was lost before it was closed")

    def _run(self, operation: Callable[[pkcs11.Session], T]) -> T:
        if self._session is not None:
            try:
                return operation(self._session)
            except pkcs11.PKCS11Error as error:
                _log.warning("the HSM's session was lost", reason=reason_of(error))
        try:
            self._session = self._connected()
            return operation(self._session)
        except pkcs11.PKCS11Error as error:
            self._session = None
            raise Unavailable(
                "the HSM does not answer",
                field="DEAL_PKCS11_TOKEN",
                value=self._label,
                actual=reason_of(error),
                next_action="wait, or look whether the token is there and not in use by others",
            ) from error

    def _connected(self) -> pkcs11.Session:
        """Begin anew from the library on: one that lost its token finds it only so."""
        self._session = None
        library = self._library()
        library.reinitialize()
        token = library.get_token(token_label=self._label)
        pin = read_secret_line(self._pin_file, _PIN, "PIN")
        if pin == self._refused:  # asking again and again is what locks a token
            raise self._wrong_pin("it was refused before")
        try:
            text = pin.get_secret_value().decode(errors="replace")
            session: pkcs11.Session = token.open(rw=True, user_pin=text)
        except _PIN_REFUSED as error:
            self._refused = pin
            raise self._wrong_pin(reason_of(error)) from None
        self.logins += 1
        return session

    def _library(self) -> Any:  # noqa: ANN401 - typed in the library's private parts only
        try:
            return pkcs11.lib(str(self._module))
        except (OSError, RuntimeError) as error:
            raise InvalidConfiguration(
                "the PKCS#11 module cannot be loaded",
                field="DEAL_PKCS11_MODULE",
                value=self._module,
                limit="the shared library of the HSM's maker",
                actual=str(error),
                next_action="install it, and give its path",
            ) from error

    def _wrong_pin(self, actual: str) -> InvalidConfiguration:
        return InvalidConfiguration(
            "the HSM refuses the PIN",
            field=_PIN,
            value=self._pin_file,
            limit=f"the user PIN of the token {self._label}",
            actual=actual,
            next_action="write the right PIN into the file; it is tried once, so as not to lock "
            "the token",
        )


def reason_of(error: pkcs11.PKCS11Error) -> str:
    """What the library calls the error."""
    return f"{type(error).__name__} {error}".strip()
