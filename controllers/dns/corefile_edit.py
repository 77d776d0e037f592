"""Puts clusterset.local into a Corefile and takes it out again, to the last byte. Pure.

What is put in stands between two comment lines, with the lines that it replaced as comments among them; so whatever
else changes in the file meanwhile, taking it out restores exactly what was there, and nothing must be remembered
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controllers.dns.corefile import Corefile, CorefileError, Directive, ServerBlock, parse_corefile, zone_of
from federation.model.addresses import HostPort
from federation.model.names import CLUSTERSET_DOMAIN

BEGIN: Final = "# federation-gateway: begin (federation dns uninstall takes it out)"
BEGIN_BEHIND_OPEN_LINE: Final = f"{BEGIN}; the line before had no end"
WAS: Final = "# federation-gateway: was:"
"""Before a line that was replaced; all behind the colon is the line."""
END: Final = "# federation-gateway: end"

_BEGINNINGS: Final = frozenset({BEGIN, BEGIN_BEHIND_OPEN_LINE})
_INDENT: Final = "    "


class Method(StrEnum):
    """How CoreDNS knows the names of the clusterset."""

    FORWARD = "forward"
    """It asks the controllers' DNS server."""
    PLUGIN = "plugin"
    """Its own plugin ``multicluster`` reads ServiceImports."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What a Corefile holds of ours."""

    method: Method
    server: str = ""
    """Where the zone is forwarded to, ``IP:PORT``."""


def forwarding(server: HostPort, *, port: str = "53", bind: Sequence[str] = ()) -> tuple[str, ...]:
    """The lines of the server block that forwards the zone.

    The cache is short since endpoints come and go, and keeps no SERVFAIL: a controller answers it until it has read
    everything. No ``loadbalance``: it would shuffle near and far endpoints.
    """
    return (
        f"{CLUSTERSET_DOMAIN}:{port} {{",
        *([f"{_INDENT}bind {' '.join(bind)}"] if bind else []),
        f"{_INDENT}errors",
        f"{_INDENT}cache 5 {{",
        f"{_INDENT * 2}servfail 0",
        f"{_INDENT}}}",
        f"{_INDENT}forward . {server}",
        "}",
    )


def with_forward(text: str, server: HostPort) -> str:
    """The Corefile with the zone forwarded, in the place of what we put in before.

    Raises CorefileError where it is not understood, or where somebody else has settled who answers for the zone.
    """
    bare = without(text)
    corefile = _free(bare)
    root = _root(corefile)
    bind = [word for directive in root.named("bind") for word in directive.arguments]
    ended = bare.endswith("\n")
    block = _marked(forwarding(server, port=root.ports[0], bind=bind), begin=BEGIN if ended else BEGIN_BEHIND_OPEN_LINE)
    # Behind all that is there, and whole lines: more may be put behind them.
    return "\n".join([bare.removesuffix("\n"), *block, ""])


def with_plugin(text: str) -> str:
    """The Corefile with the line ``multicluster`` in its kubernetes block, in the place of what we put in before.

    Raises CorefileError as ``with_forward`` does, and where no kubernetes block answers for all zones.
    """
    bare = without(text)
    directives = _root(_free(bare)).named("kubernetes")
    if len(directives) != 1 or not directives[0].arguments:
        raise CorefileError(
            f"the Corefile has {len(directives)} kubernetes plugins in the block for all names, where one is needed",
            hint="use --method forward, or add the line multicluster by hand: see deploy/coredns/README.md",
        )
    edited = _with_multicluster(bare, directives[0])
    try:
        # A comment without a space before it, or a lone carriage return, is part of a word to CoreDNS.
        parse_corefile(edited)
    except CorefileError as error:
        raise CorefileError(
            f"the kubernetes line can't be given a block: {error}",
            hint="use --method forward, or add the line multicluster by hand: see deploy/coredns/README.md",
        ) from error
    return edited


def without(text: str) -> str:
    """The Corefile as it would be if nothing had been put in; raises CorefileError where our marks are damaged."""
    parts = list(_parts(text))
    if len(parts) > 1 and parts[-2].opened and parts[-1] == _Part(("",)):
        parts.pop()
    return "\n".join(line for part in parts for line in part.before)


def installed(text: str) -> Installed | None:
    """What is in a Corefile of ours; raises CorefileError where our marks are damaged."""
    ours = [line.split() for part in _parts(text) if part.after is not None for line in part.after]
    if not ours:
        return None
    servers = [words[2] for words in ours if words[:2] == ["forward", "."] and len(words) > 2]
    return Installed(Method.FORWARD, servers[0]) if servers else Installed(Method.PLUGIN)


def reloads(text: str) -> bool:
    """Whether CoreDNS takes a changed Corefile over by itself; raises CorefileError."""
    return any(block.named("reload") for block in parse_corefile(text).blocks)


def holders(text: str) -> Iterator[str]:
    """Who settles in a Corefile already what becomes of the zone; raises CorefileError where it is not understood."""
    for block in parse_corefile(text).blocks:
        if CLUSTERSET_DOMAIN in block.zones:
            yield f"a server block for {CLUSTERSET_DOMAIN}"
        for directive in block.directives:
            if directive.name == "multicluster" or (directive.name == "kubernetes" and directive.has("multicluster")):
                yield "the plugin multicluster"
            elif directive.name != "kubernetes" and CLUSTERSET_DOMAIN in map(zone_of, directive.arguments):
                yield f"the plugin {directive.name} for {CLUSTERSET_DOMAIN}"


@dataclass(frozen=True, slots=True)
class _Part:
    """Lines as they are without us, and what stands there instead of them; None where that is the same."""

    before: tuple[str, ...]
    after: tuple[str, ...] | None = None
    opened: bool = False
    """Whether the line before it got the end that it did not have."""


def _free(text: str) -> Corefile:
    for holder in holders(text):
        raise CorefileError(
            f"the Corefile has {holder} already, which is not ours",
            hint="remove it first if the federation is to answer; nothing was changed",
        )
    return parse_corefile(text)


def _root(corefile: Corefile) -> ServerBlock:
    """The server block for all names that no other is for."""
    for block in corefile.blocks:
        if "." in block.zones:
            return block
    raise CorefileError(
        "the Corefile has no server block for all names, as .:53",
        hint="is it the Corefile of this cluster's CoreDNS? docs/dns.md says what to add by hand",
    )


def _with_multicluster(text: str, kubernetes: Directive) -> str:
    first, last = kubernetes.words[0], kubernetes.opening or kubernetes.words[-1]
    lines = text.split("\n")
    line = lines[first.line]
    begin = sum(len(one) + 1 for one in lines[: first.line])
    if last.end > begin + len(line) or line.split()[0] != first.text:
        raise CorefileError(
            f"line {first.line + 1} of the Corefile has more than the kubernetes plugin on it",
            hint="put the plugin on a line of its own, or use --method forward",
        )
    indent = line[: len(line) - len(line.lstrip())]
    zone = [] if CLUSTERSET_DOMAIN in map(zone_of, kubernetes.arguments) else [CLUSTERSET_DOMAIN]
    at = kubernetes.words[1].end - begin
    option = f"{indent}{_INDENT}multicluster {CLUSTERSET_DOMAIN}"
    named = " ".join([line[:at], *zone]) + line[at:]
    if kubernetes.opening is not None:
        cut = kubernetes.opening.end - begin + sum(len(one) + 1 for one in zone)
        if named[cut:].strip() and not named[cut:].lstrip().startswith("#"):
            raise CorefileError(
                f"line {first.line + 1} of the Corefile goes on behind the brace",
                hint="put what follows it on lines of its own, or use --method forward",
            )
        changed: tuple[str, ...] = (named, option)
    else:
        cut = kubernetes.words[-1].end - begin + sum(len(one) + 1 for one in zone)
        changed = (f"{named[:cut]} {{", option, f"{indent}}}")
    marked = _marked(changed, was=[line], indent=indent)
    return "\n".join([*lines[: first.line], *marked, *lines[first.line + 1 :]])


def _marked(after: Iterable[str], *, was: Iterable[str] = (), indent: str = "", begin: str = BEGIN) -> list[str]:
    return [f"{indent}{begin}", *(f"{indent}{WAS}{line}" for line in was), *after, f"{indent}{END}"]


def _parts(text: str) -> Iterator[_Part]:
    """The text in pieces: lines that are nobody's of us, and what stands between our marks."""
    was: list[str] | None = None
    after: list[str] = []
    opened = False
    for line in text.split("\n"):
        match line.strip(), was:
            case mark, None if mark in _BEGINNINGS:
                was, after, opened = [], [], mark == BEGIN_BEHIND_OPEN_LINE
            case mark, list() if mark == END:
                yield _Part(tuple(was or ()), tuple(after), opened)
                was = None
            case mark, _ if mark == END or mark in _BEGINNINGS:
                raise _damaged()
            case mark, list() if line.lstrip().startswith(WAS):
                was = [*(was or ()), line.lstrip().removeprefix(WAS)]
            case _, None:
                yield _Part((line,))
            case _:
                after.append(line)
    if was is not None:
        raise _damaged()


def _damaged() -> CorefileError:
    return CorefileError(
        "the comment lines of federation-gateway in the Corefile are not as they were written",
        hint=f"restore the lines {BEGIN!r} and {END!r} around what belongs to us, or take all of it out by hand",
    )
