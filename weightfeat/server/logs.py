"""What a detector says, kept in bounds: a stream's beginning as it comes, its end, and how much lay between."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

__all__ = ["KEPT", "Log"]

KEPT = 4 << 20
"""Bytes kept of a stream's beginning, and as many of its end."""
_CHUNK = 1 << 16
_PIPE = 1 << 20  # the most that Linux lets a pipe hold
_LOOK = 200  # milliseconds


class Log:
    """A pipe's end to write to, `descriptor`, and a file that takes what is said there.

    `started` is to be called once the writer has the descriptor, `close` when it has ended: then the file is whole.

    >>> log = Log(path)  # doctest: +SKIP
    >>> child = subprocess.Popen(command, stdout=log.descriptor)  # doctest: +SKIP
    >>> log.started(); child.wait(); log.close()  # doctest: +SKIP

    Raises OSError where `path` cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileIO(path, "wb")
        self._reader, self.descriptor = os.pipe()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def started(self) -> None:
        """Leave the descriptor to the writer alone, so that its end is the stream's end."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Take what is still in the pipe and finish the file; whoever else holds the pipe is not waited for."""
        self.started()
        self._ended.set()
        self._thread.join()
        os.close(self._reader)
        self._file.close()

    def _take(self) -> None:
        room, end, left_out = KEPT, bytearray(), 0
        for chunk in self._chunks():
            _write(self._file, chunk[:room])
            end += chunk[room:]
            room = max(room - len(chunk), 0)
            if len(end) > 2 * KEPT:
                left_out += len(end) - KEPT
                del end[:-KEPT]
        left_out += max(len(end) - KEPT, 0)
        if left_out:
            _write(self._file, f"\n[{left_out} bytes are left out here]\n".encode())
        _write(self._file, bytes(end[-KEPT:]))

    def _chunks(self) -> Iterator[bytes]:
        """What comes through the pipe until its end; once the writer is known to have ended, what the pipe holds."""
        poll, last = select.poll(), _PIPE
        poll.register(self._reader, select.POLLIN)
        while last > 0:
            ended = self._ended.is_set()
            if poll.poll(0 if ended else _LOOK):
                chunk = os.read(self._reader, _CHUNK)
                if not chunk:
                    return
                yield chunk
                last -= len(chunk) if ended else 0
            elif ended:
                return


def _write(file: FileIO, data: bytes) -> None:
    """Write all of it; a full disk loses what it says, never the run."""
    with contextlib.suppress(OSError):
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
