"""CoreDNS's configuration, read as far as it takes to put something into it safely. Pure.

The rules are those of CoreDNS's own reader (github.com/coredns/caddy, caddyfile/lexer.go and parse.go): words between
white space, ``#`` begins a comment wherever it stands, a word that is ``{`` or ``}`` opens or closes. Text that this
module does not understand is refused: whoever edits a cluster's DNS must know what he edits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from federation.model.errors import FederationError

# Python calls these white space, Go does not.
_NO_SPACE: Final = frozenset("\x1c\x1d\x1e\x1f")


class CorefileError(FederationError):
    """A Corefile can't be edited: it is not understood, or somebody else has settled already what we would settle."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word, and where it is written."""

    text: str
    line: int
    """From 0."""
    end: int
    """Offset in the text of what follows it."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One plugin of a server block."""

    words: tuple[Word, ...]
    """Its name and arguments; never empty."""
    body: tuple[Word, ...] = ()
    """What stands between its braces."""
    opening: Word | None = None
    """The brace that opens its body, if it has one."""

    @property
    def name(self) -> str:
        return self.words[0].text

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words[1:])

    def has(self, option: str) -> bool:
        """Whether a line of its body begins with the word."""
        return any(
            word.text == option and (index == 0 or self.body[index - 1].line != word.line)
            for index, word in enumerate(self.body)
        )


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """What CoreDNS does with queries for some zones."""

    keys: tuple[str, ...]
    directives: tuple[Directive, ...]

    @property
    def zones(self) -> frozenset[str]:
        return frozenset(zone_of(key) for key in self.keys)

    @property
    def ports(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(port_of(key) for key in self.keys))

    def named(self, name: str) -> tuple[Directive, ...]:
        return tuple(directive for directive in self.directives if directive.name == name)


@dataclass(frozen=True, slots=True)
class Corefile:
    """Server blocks in their order, and the files that are taken in beside them."""

    blocks: tuple[ServerBlock, ...]
    imports: tuple[str, ...]
    """Patterns of top-level imports. Snippets are left out: they serve nobody by themselves."""


def parse_corefile(text: str) -> Corefile:
    """Raises CorefileError where CoreDNS would not accept the text, or where what is put behind it would become part of
    what it ends with."""
    return _Reader(tuple(_words(text))).corefile()


def zone_of(key: str) -> str:
    """The zone of a server block's key such as ``dns://example.org.:53``: lower case, and without the last dot but for
    the root."""
    host = key.partition("://")[2] or key
    name, _, port = host.rpartition(":")
    bare = (name if name and port.isdigit() else host).lower()
    return bare.rstrip(".") or "."


def port_of(key: str) -> str:
    """The port of a server block's key; 53, which CoreDNS takes by itself, where it names none."""
    port = key.partition("://")[2].rpartition(":")[2] if "://" in key else key.rpartition(":")[2]
    return port if ":" in key and port.isdigit() else "53"


class _Reader:
    """Groups words to blocks and directives."""

    def __init__(self, words: tuple[Word, ...]) -> None:
        self._words = words
        self._next = 0

    def corefile(self) -> Corefile:
        blocks, imports = [], []
        while (word := self._peek()) is not None:
            if word.text == "import":
                imports.append(self._import())
                continue
            keys = self._keys()
            opening = self._take()
            if opening is None or opening.text != "{":
                raise CorefileError(
                    f"the Corefile serves {' '.join(keys) or 'nobody'} without braces (line {word.line + 1})",
                    hint="put { and } around what belongs to it, or add what is needed by hand: see docs/dns.md",
                )
            if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
                self._body(opening)
                continue
            blocks.append(ServerBlock(keys, tuple(self._directives(opening))))
        return Corefile(tuple(blocks), tuple(imports))

    def _peek(self) -> Word | None:
        return self._words[self._next] if self._next < len(self._words) else None

    def _take(self) -> Word | None:
        word = self._peek()
        self._next += 1
        return word

    def _on_line(self, line: int) -> bool:
        word = self._peek()
        return word is not None and word.line == line

    def _import(self) -> str:
        first = self._take()
        assert first is not None  # noqa: S101 - the caller saw it
        arguments = []
        while self._on_line(first.line):
            word = self._take()
            assert word is not None  # noqa: S101 - it is on the line
            arguments.append(word.text)
        if len(arguments) != 1 or arguments[0] in {"{", "}"}:
            raise _not_understood(first.line, "import takes one name")
        return arguments[0]

    def _keys(self) -> tuple[str, ...]:
        keys: list[str] = []
        goes_on = True
        line = -1
        while (word := self._peek()) is not None and word.text != "{" and (goes_on or word.line == line):
            if word.text == "}":
                raise _not_understood(word.line, "} closes nothing")
            goes_on = word.text.endswith(",")
            if key := word.text.removesuffix(","):
                keys.append(key)
            line = word.line
            self._next += 1
        return tuple(keys)

    def _directives(self, opening: Word) -> Iterator[Directive]:
        while (word := self._take()) is not None:
            if word.text == "}":
                return
            if word.text == "{":
                raise _not_understood(word.line, "{ without a name before it")
            words = [word]
            while self._on_line(word.line) and (following := self._peek()) is not None:
                if following.text == "}":
                    raise _not_understood(following.line, "} closes nothing")
                self._next += 1
                if following.text == "{":
                    yield Directive(tuple(words), self._body(following), following)
                    break
                words.append(following)
            else:
                yield Directive(tuple(words))
        raise _not_understood(opening.line, "{ is never closed")

    def _body(self, opening: Word) -> tuple[Word, ...]:
        first, depth = self._next, 1
        while (word := self._take()) is not None:
            depth += (word.text == "{") - (word.text == "}")
            if not depth:
                return self._words[first : self._next - 1]
        raise _not_understood(opening.line, "{ is never closed")


def _words(text: str) -> Iterator[Word]:
    """The words of the text; the odd rules are those of CoreDNS's reader."""
    found: list[str] = []
    begun, line = 0, 0
    quoted = escaped = comment = False
    for offset, char in enumerate(text):
        if quoted:
            if not escaped and char in '\\"':
                escaped, quoted = char == "\\", char == "\\"
                if not quoted:
                    yield Word("".join(found), begun, offset + 1)
                    found = []
                continue
            if escaped and char != '"':
                found.append("\\")
            found.append(char)
            escaped = False
            line += char == "\n"
            continue
        if char.isspace() and char not in _NO_SPACE:
            if char == "\r":
                continue
            if found:
                yield Word("".join(found), begun, offset)
                found = []
            if char == "\n":
                line, comment = line + 1, False
            continue
        comment = comment or char == "#"
        if comment:
            continue
        if not found:
            begun = line
            if char == '"':
                quoted = True
                continue
        found.append(char)
    if quoted:
        raise _not_understood(begun, "a quotation mark is never closed")
    if found:
        yield Word("".join(found), begun, len(text))


def _not_understood(line: int, cause: str) -> CorefileError:
    return CorefileError(
        f"line {line + 1} of the Corefile is not understood: {cause}",
        hint="CoreDNS would not start with it either: its log says what is wrong",
    )
