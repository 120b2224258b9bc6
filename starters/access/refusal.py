"""Why a credential does not count."""


class Refused(Exception):
    """A credential does not count; why is for the log alone."""
