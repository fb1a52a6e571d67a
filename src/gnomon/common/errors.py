"""The two ways gnomon fails: the input was wrong (exit code 2), or a job failed (exit code 1).

A message names the thing, the value and the mend in one line.
"""


class GnomonError(Exception):
    """Bad input: a line that says what, where and what would be right. Exit code 2."""

    exit_code = 2


class JobFailed(GnomonError):
    """A job that was asked for rightly and did not succeed. Exit code 1."""

    exit_code = 1


class Told(GnomonError):
    """What another process of the same command says; this one ends without a word."""

    def __init__(self, message: str, exit_code: int = GnomonError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code
