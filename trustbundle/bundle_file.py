"""The own bundle in a file: a mounted Secret or ConfigMap, or whatever else someone keeps up to date.

An edge: it reads, and never judges what it read. Symbolic links are followed at every look, so that the swap of a
mounted volume's ``..data`` is seen like any other change.
"""

from __future__ import annotations

from pathlib import Path

from federation.model.errors import TrustError
from trustbundle.external import MAX_CONTENT_BYTES


def read_bundle_file(path: Path) -> bytes:
    """The file as it is now, up to one byte more than a bundle may have; raises TrustError where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_CONTENT_BYTES + 1)
    except OSError as error:
        raise TrustError(f"{path} can't be read: {error.strerror}", reason="Unreadable") from error
