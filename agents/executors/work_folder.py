"""The private folder of one command: the files it is given, the files it leaves behind.

    fill({"data/x.bin": Blob, "note": b"..."})  copies, which the command may change; then it runs there
    collect(["model.bin"])                      moved into the store, as blobs
    remove()                                    with all that is left in it

Invariants: no name leads out of the folder, whoever wrote it, neither by ".." nor by a link that the command has made;
what is in a file was hashed when it was copied in, and is hashed when it is taken out. Everything here blocks.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..blob_folder import BlobFolder
from ..payload import BLOBS_MAX, Blob, PayloadError

FILES_MAX = BLOBS_MAX
NAME_BYTES_MAX = 1024
PART_BYTES_MAX = 255
MODE = 0o700
"""Of the files it is given: one of them may be the program."""


class MissingError(Exception):
    """A file that was to be kept is not there; the text is its name."""


def is_file_name(name: object) -> bool:
    """A path below the folder, as `x.bin` or `data/x.bin`."""
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= NAME_BYTES_MAX:
        return False
    if not name.isprintable() or "\\" in name:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) <= PART_BYTES_MAX for part in parts)


class WorkFolder:
    """Make it, fill it, and in the end remove it. Raises OSError if it cannot be made."""

    def __init__(self, store: BlobFolder) -> None:
        self._store = store
        self.path = store.work()

    def fill(self, files: Mapping[str, Blob | bytes]) -> None:
        """Raises PayloadError where two names are in each other's way, and BlobError."""
        for name, content in files.items():
            path = self.path / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Blob):
                    self._store.copy(content, path)
                else:
                    with path.open("xb") as file:
                        file.write(content)
                path.chmod(MODE)
            except (FileExistsError, NotADirectoryError):
                raise PayloadError(f"the file {name} cannot lie where another one does") from None

    def collect(self, names: Sequence[str]) -> dict[str, Blob]:
        """Nobody writes to them any more. Raises MissingError for what is no file, or a link to one."""
        kept: dict[str, Blob] = {}
        for name in dict.fromkeys(names):
            path = self.path / name
            if not self._is_file(path):
                raise MissingError(name)
            kept[name] = self._store.move_in(path)
        return kept

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _is_file(self, path: Path) -> bool:
        """A regular file, in folders that are no links, and not one that has a name elsewhere as well."""
        try:
            for folder in path.parents:
                if folder == self.path:
                    break
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    return False
            found = os.lstat(path)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode)
