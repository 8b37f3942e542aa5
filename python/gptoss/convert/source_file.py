"""A file that a conversion reads from, anywhere in it."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptoss.errors import ConversionError


class SourceFile:
    """An open file. ConversionError, with its name, if it cannot be opened or read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = FileIO(path, "rb")
            self.num_bytes = path.stat().st_size
        except OSError as error:
            raise ConversionError(f"{path} cannot be read: {error.strerror}.") from error

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; its tensors cannot be read any more."""
        self._file.close()

    def prefetch(self, offset: int, num_bytes: int) -> None:
        """Let the system read bytes into its cache while this process does something else."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), offset, num_bytes, os.POSIX_FADV_WILLNEED)

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Read some bytes into new memory."""
        content = np.empty(num_bytes, np.uint8)
        self.read_into(offset, content)
        return content.tobytes()

    def read_into(self, offset: int, buffer: NDArray[Any]) -> None:
        """Fill a contiguous array with the bytes at an offset of the file."""
        if buffer.nbytes == 0:
            return  # A memoryview of nothing cannot be cast.
        view = buffer.data.cast("B")
        self._file.seek(offset)
        while len(view) > 0:
            try:
                num_read = self._file.readinto(view)
            except OSError as error:
                raise ConversionError(
                    f"{self.path} cannot be read at byte {self._file.tell()}: {error.strerror}."
                ) from error
            if not num_read:
                raise ConversionError(
                    f"{self.path} ended at byte {self._file.tell()} while it was read; "
                    f"it had {self.num_bytes} bytes when the conversion began."
                )
            view = view[num_read:]
