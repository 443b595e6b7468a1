"""The exceptions that a person is meant to read."""


class UserError(Exception):
    """Wrong params, files or data. The message is one line: what is wrong, where, and what to
    do."""


class UsageError(UserError):
    """Wrong arguments on the command line. The message says what is expected."""


class MissingInput(UserError):
    """A model was given nothing that it can answer to. The message says what it reads."""
