"""How large a statement of the membership may be: what the board carries, and what whoever reads it looks at.

Constants alone, for two packages that don't know each other.
"""

from __future__ import annotations

MAX_ROSTER_BYTES = 1024 * 1024
MAX_LETTER_BYTES = 8 * 1024
"""Of a request or an answer."""
