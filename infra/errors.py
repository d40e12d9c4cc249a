"""The errors that a person can do something about."""


class RemediableError(Exception):
    """Something outside the service is in the way, and a person can clear it.

    The command line prints it as one line and exits with 1; there is no traceback, because the cause is not in
    the code.

    Attributes:
        message: What is wrong, without a full stop.
        remedy: What to do about it, as an instruction.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}. {remedy}")
        self.message = message
        self.remedy = remedy
