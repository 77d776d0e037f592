"""Whether an object that is installed is as it is stated (server-side apply). Pure.

Like ``controllers.mcs.owned_fields``, for any kind: items of lists are told apart by their name, or stand in order, and
quantities are compared by what they amount to. What the API server adds by itself, and what others own, is no
difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from controllers.mcs.objects import Document, mapping, sequence
from controllers.mcs.owned_fields import owned_fields, states

_QUANTITY: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>m|[kMGT]i?|Ki)?")
_UNITS: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}
_QUANTITIES: Final = frozenset({"requests", "limits", "sizeLimit"})
"""Fields below which numbers have units, that the API server may spell otherwise than they were sent."""


def needs_apply(existing: Document | None, document: Document, manager: str) -> bool:
    """Whether ``document`` must be applied by ``manager`` for ``existing`` to be as it says."""
    if existing is None:
        return True
    owned = owned_fields(existing, manager=manager)
    return not owned or not _holds(existing, document, quantity=False) or not states(document, owned)


def _holds(actual: object, stated: object, *, quantity: bool) -> bool:
    """Whether everything that is stated is there; there may be more in a mapping."""
    match stated:
        case Mapping():
            found = mapping(actual)
            return all(
                _holds(found.get(key), inner, quantity=quantity or key in _QUANTITIES) for key, inner in stated.items()
            )
        case list() | tuple():
            items = sequence(actual)
            if all(isinstance(item, Mapping) and "name" in item for item in stated):
                named = {mapping(item).get("name"): item for item in items}
                return all(_holds(named.get(item["name"]), item, quantity=quantity) for item in stated)
            return len(items) == len(stated) and all(
                _holds(item, wanted, quantity=quantity) for item, wanted in zip(items, stated, strict=True)
            )
        case _ if quantity:
            return actual == stated or (_amount(actual) is not None and _amount(actual) == _amount(stated))
        case _:
            return actual == stated


def _amount(value: object) -> Decimal | None:
    found = _QUANTITY.fullmatch(str(value))
    return None if found is None else Decimal(found["number"]) * _UNITS[found["unit"] or ""]
