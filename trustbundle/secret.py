"""SecretBytes: key material that can be passed around and compared, but not printed or serialised by
accident.

A value without I/O. It must not offer any way to the bytes besides ``reveal``, so that a search for that
word finds every place where a secret leaves the program.
"""

from __future__ import annotations

import hmac
from typing import Never, final


@final
class SecretBytes:
    """Secret bytes whose ``repr`` and ``str`` are ``<redacted>``; msgspec, YAML and pickle refuse them
    (TypeError)."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes themselves, for the one file, socket or signature that needs them."""
        return self._value

    def __repr__(self) -> str:
        return "<redacted>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((SecretBytes, self._value))

    # dataclasses.asdict and replace copy deeply; an immutable value is its own copy.
    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> SecretBytes:
        return self

    # PyYAML's full dumper writes any object that pickles, private attributes included.
    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret can't be serialised")
