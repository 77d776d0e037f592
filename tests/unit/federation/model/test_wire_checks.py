"""What a field of a record may hold: each check lets the good through and names the field of the bad."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.model.errors import WireError
from federation.model.names import ServiceKey
from federation.model.wire_checks import (
    check_bounded,
    check_distinct,
    check_identity,
    check_ip,
    check_items,
    check_label_value,
    check_service,
    check_text,
)

Check = Callable[..., None]
CASES: list[tuple[Check, tuple[object, ...], tuple[object, ...]]] = [
    (check_bounded, (3, 1, 3), (4, 1, 3)),
    (check_items, ([1], 1), ([1, 2], 1)),
    (check_distinct, ([1, 2],), ([1, 1],)),
    (check_text, ("a", 1), ("ab", 1)),
    (check_text, (None, 1), ("", 1)),
    (check_label_value, ("a-b",), ("-a",)),
    (check_ip, ("10.0.0.1",), ("0.0.0.0",)),
    (check_ip, ("fd00::1",), ("name",)),
    (check_service, (ServiceKey("demo", "echo"),), (ServiceKey("demo", "Echo"),)),
]


@pytest.mark.parametrize(("check", "good", "bad"), CASES)
def test_a_field_is_judged_by_name(check: Check, good: tuple[object, ...], bad: tuple[object, ...]) -> None:
    """The error says which one."""
    check("some_field", *good)
    with pytest.raises(WireError, match="some_field"):
        check("some_field", *bad)


def test_an_identity_is_of_the_members_own_trust_domain() -> None:
    """Nobody states another's."""
    check_identity("spiffe://east.test/ns/demo/sa/web", "east.test")
    for foreign in ("spiffe://west.test/ns/demo/sa/web", "spiffe://east.test/../web"):
        with pytest.raises(WireError):
            check_identity(foreign, "east.test")
