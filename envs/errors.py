"""How every program of the package fails: one clear sentence on stderr, no traceback, nothing half-written."""

import sys
from collections.abc import Callable


class UsageError(Exception):
    """The caller asked for something that does not exist or does not fit together. Exit status 2."""


class Failure(Exception):
    """The request was sound, but it could not be carried out (a damaged file, a full disk). Exit status 1."""


class AlreadyThere(Exception):
    """What is asked for has been made, by the same arguments from the same data. Exit status 0."""


def run_command_line(main: Callable[[], None]) -> None:
    """Run `main` and turn the errors a user can meet into one sentence and an exit status.

    `AlreadyThere` says so and exits with 0; `UsageError` exits with 2; `Failure` and operating-system errors (a full
    disk, an unwritable folder) with 1. Anything else is a defect of ours and keeps its traceback.
    """
    module = sys.modules["__main__"].__spec__ if main.__module__ == "__main__" else None
    if module is not None:  # so that a usage error tells the command to repeat, not the path of a file
        sys.argv[0] = f"python -m {module.name}"
    try:
        main()
    except AlreadyThere as told:
        print(told)
    except UsageError as error:
        _exit(str(error), 2)
    except Failure as error:
        _exit(str(error), 1)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _exit(f"Cannot read or write{where}: {error.strerror or error}.", 1)
    except KeyboardInterrupt:
        _exit("Interrupted; run the same command again to go on.", 130)


def _exit(sentence: str, status: int) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(status)
