"""The one error of the local chain."""


class ChainError(Exception):
    """The local chain cannot be built or started; the message is one line and says what to do."""
