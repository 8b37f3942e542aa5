"""A file that appears under its name only when it is complete.

It is written under a temporary name in the same folder, synced, and renamed. Whatever goes wrong
before that leaves no trace and does not touch a file that was there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from gptoss.convert.byte_counts import format_bytes
from gptoss.errors import ConversionError

# Elsewhere, sendfile sends only to sockets.
HAS_SENDFILE_BETWEEN_FILES = sys.platform == "linux"
NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file system or a limit of the process allows no file of this size",
}


def check_destination(destination: Path, num_bytes: int, force: bool) -> list[str]:
    """Return the reasons why a file of this size cannot be written there."""
    folder = destination.parent
    if destination.is_dir():
        return [f"{destination} is a directory: give the name of the file to write."]
    if not folder.is_dir():
        return [f"The folder {folder} does not exist."]
    problems = []
    if (destination.exists() or destination.is_symlink()) and not force:
        problems.append(f"{destination} exists: use --force to replace it.")
    if not os.access(folder, os.W_OK | os.X_OK):
        problems.append(f"There is no permission to write into {folder}.")
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        problems.append(
            f"{destination} takes {format_bytes(num_bytes)}, but only {format_bytes(free)} are "
            f"free in {folder}."
        )
    return problems


class OutputFile:
    """A context manager: `write` in order, then `commit`; leaving it without removes the file."""

    def __init__(self, destination: Path, force: bool) -> None:
        self.destination = destination
        self.force = force
        # A name of its own, so that two conversions to the same destination do not meet.
        self.temporary = destination.with_name(
            f".{destination.name}.{secrets.token_hex(4)}.partial"
        )
        self.num_bytes = 0
        self._file: FileIO | None = None

    def __enter__(self) -> OutputFile:
        try:
            self._file = FileIO(self.temporary, "xb")
        except OSError as error:
            raise ConversionError(
                f"{self.temporary} cannot be created: {error.strerror}."
            ) from error
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def write(self, content: bytes | NDArray[Any]) -> None:
        """Append bytes, or a contiguous array's bytes."""
        assert self._file is not None
        view = memoryview(content if isinstance(content, bytes) else content.data).cast("B")
        self.num_bytes += len(view)
        with self._explained():
            while len(view) > 0:
                view = view[self._file.write(view) or 0 :]

    def replace_start(self, content: bytes) -> None:
        """Write the first bytes of the file once more, now that they are known."""
        assert self._file is not None
        assert len(content) <= self.num_bytes
        view = memoryview(content)
        with self._explained():
            self._file.seek(0)
            while len(view) > 0:
                view = view[self._file.write(view) or 0 :]
            self._file.seek(self.num_bytes)

    def copy(self, descriptor: int, offset: int, num_bytes: int) -> int:
        """Append bytes of another file without reading them; return how many.

        This takes half the processor's time of reading and writing. It may be fewer bytes than
        asked for, or none, where the system cannot do it, or fails for a reason that reading tells
        better.
        """
        assert self._file is not None
        position, end = offset, offset + num_bytes
        while HAS_SENDFILE_BETWEEN_FILES and position < end:
            try:
                num_sent = os.sendfile(self._file.fileno(), descriptor, position, end - position)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise self._failure(error) from error
                break
            if num_sent == 0:
                break
            position += num_sent
            self.num_bytes += num_sent
        return position - offset

    def commit(self) -> None:
        """Make what was written durable, and give it its name."""
        assert self._file is not None
        with self._explained():
            os.fsync(self._file.fileno())
            self._file.close()
            self._rename()
        # Makes the name durable too; some file systems cannot sync a folder.
        with contextlib.suppress(OSError):
            folder = os.open(self.destination.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _rename(self) -> None:
        if self.force:
            self.temporary.replace(self.destination)
            return
        try:
            # Unlike a rename, a link never replaces what another conversion has put there
            # meanwhile.
            os.link(self.temporary, self.destination)
        except FileExistsError:
            raise ConversionError(
                f"{self.destination} came into being during the conversion, and was left as it is."
            ) from None
        except OSError:
            # Some file systems have no links.
            if self.destination.exists():
                raise ConversionError(
                    f"{self.destination} came into being during the conversion, and was left as it "
                    "is."
                ) from None
            self.temporary.replace(self.destination)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> ConversionError:
        reason = NO_ROOM.get(error.errno or 0, error.strerror)
        return ConversionError(
            f"Writing {self.destination} failed after {format_bytes(self.num_bytes)}: {reason}. "
            "The unfinished file was removed."
        )

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        with contextlib.suppress(OSError):
            self.temporary.unlink()
