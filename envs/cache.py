"""Answers kept on disk as JSON lines, so that nothing that costs time is asked twice: not by another process either."""

import fcntl
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from envs.errors import Failure, UsageError

Row = dict[str, Any]


class Cache:
    """A file of JSON lines: first what the answers depend on, then a row for every question that was answered.

    Rows are only ever appended, each by one write under a lock on the file, and are on disk before they are used. So
    several processes may share the file, and one that is killed leaves nothing but perhaps an unfinished last line,
    which the next to write removes.
    """

    def __init__(self, path: Path, header: Row | None, key: Callable[[Row], Hashable]) -> None:
        """Open the file, or begin it with `header`; `key` says which question a row answers. None: it must exist.

        Raises UsageError where the file is missing or depends on something else, Failure where it is damaged.
        """
        self.path, self.key, self.rows, self.read_to = path, key, {}, 0
        self.header: Row = {}
        if header is None and not path.is_file():
            raise UsageError(f"There is no file {path}: make it first.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            if header is not None and not self.header:
                self._append(file, [header])
        if not self.header:
            raise Failure(f"{path} is empty: remove it and make it again.")
        different = [name for name in (header or {}) if header[name] != self.header.get(name)]
        if different:
            raise UsageError(
                f"{path} was made with another {different[0]} ({self.header.get(different[0])}, not "
                f"{header[different[0]]}): give another file, or remove it."
            )

    def get(
        self, questions: Sequence[Hashable], answer: Callable[[list[Hashable]], list[Row]], at_once: int = 32
    ) -> list[Row]:
        """Return the row of each question; those that nobody has answered yet go to `answer`, `at_once` at a time."""
        if any(question not in self.rows for question in questions):
            with self._locked() as file:  # others wait here, and then find the answers
                new = [question for question in dict.fromkeys(questions) if question not in self.rows]
                for first in range(0, len(new), at_once):
                    self._append(file, answer(new[first : first + at_once]))
        return [self.rows[question] for question in questions]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Hold the file for writing, with all that others wrote read and what a killed one left unfinished removed."""
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(self.read_to)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                file.truncate(self.read_to + len(whole))
            self._take(whole)
            yield file

    def _append(self, file: BinaryIO, rows: list[Row]) -> None:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        file.write(lines)
        file.flush()
        self._take(lines)

    def _take(self, lines: bytes) -> None:
        try:
            rows = [json.loads(line) for line in lines.splitlines()]
            if rows and not self.header:
                self.header = dict(rows.pop(0))
            self.rows |= {self.key(row): row for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"{self.path} is damaged ({error!r}): remove it and make it again.") from error
        self.read_to += len(lines)
