"""The one error that a user is meant to read."""


class FixableError(Exception):
    """What is wrong, and the one change that puts it right.

    The command lines catch it in one place, print both parts and exit with status 2.

    >>> raise FixableError("t=0 is clean data", "sample t from 1..T")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: t=0 is clean data
      fix: sample t from 1..T
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem, self.fix = problem, fix

    def __reduce__(self) -> tuple[type["FixableError"], tuple[str, str]]:
        """Survive the trip between processes."""
        return FixableError, (self.problem, self.fix)
