"""What is put into a cluster's CoreDNS comes out again without a trace, whatever the Corefile looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from controllers.dns.corefile import CorefileError, parse_corefile
from controllers.dns.corefile_edit import BEGIN, END, installed, with_forward, with_plugin, without
from federation.model.addresses import HostPort

SERVER = HostPort("10.96.0.20", 53)
Edit = Callable[[str], str]
EDITS: dict[str, Edit] = {"forward": lambda text: with_forward(text, SERVER), "plugin": with_plugin}

spaces = st.text(" \t\r", min_size=1, max_size=3)
ends = st.sampled_from(["\n", "\r\n", "\n\n", " # a } comment {\n", "# and no space before it\n"])
arguments = st.lists(st.sampled_from(["cluster.local", "in-addr.arpa", '"two words"', "9153", "é"]), max_size=3)


@st.composite
def plugins(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["kubernetes", "errors", "forward", "cache", "reload", "bind", "log"]))
    words = draw(spaces).join([name, *draw(arguments)])
    if draw(st.booleans()):
        return draw(spaces) + words + draw(ends)
    inner = "".join(draw(st.lists(st.sampled_from(["ttl 30\n", "pods insecure\n", "x {\n y\n }\n"]), max_size=3)))
    return f"{draw(spaces)}{words} {{{draw(ends)}{inner}{draw(spaces)}}}{draw(ends)}"


@st.composite
def corefiles(draw: st.DrawFn) -> str:
    """Server blocks as CoreDNS reads them, with the last line end there or not."""
    keys = st.sampled_from([".:53", ".", "dns://.:1053", "example.org:53, \n example.com", ". 10.0.0.0/24"])
    blocks = st.builds(lambda key, body: f"{key} {{\n{''.join(body)}}}", keys, st.lists(plugins(), max_size=4))
    tops = st.one_of(blocks, st.sampled_from(["import custom/*.override", "(snippet) {\n  errors\n}", "# words"]))
    text = "\n".join(draw(st.lists(tops, max_size=4)))
    return text + draw(st.sampled_from(["", "\n", "\r\n", "\n\n  "]))


texts = st.one_of(corefiles(), st.text(), st.text('{}"#. \n\\:k'), st.lists(plugins()).map("".join))


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@given(text=texts)
@example(text=".:53 {\n    kubernetes cluster.local {\n        ttl 30\n    }\n}")
@example(text=".:53 {\n\tkubernetes cluster.local in-addr.arpa # zones\r\n}\r\n")
def test_what_is_put_in_comes_out_to_the_byte(edit: Edit, text: str) -> None:
    """Any text that is not refused is the same again, done once or twice, and CoreDNS understands it in between."""
    assume(BEGIN not in text and END not in text)
    try:
        edited = edit(text)
    except CorefileError:
        return
    assert without(edited) == text
    assert edit(edited) == edited
    assert installed(text) is None is not installed(edited)
    parse_corefile(edited)


@given(text=corefiles(), first=st.sampled_from(sorted(EDITS)), second=st.sampled_from(sorted(EDITS)))
def test_one_way_takes_the_place_of_the_other(text: str, first: str, second: str) -> None:
    """What the first put in is gone, as if it had never been there."""
    try:
        expected, between = EDITS[second](text), EDITS[first](text)
    except CorefileError:
        return
    assert EDITS[second](between) == expected


@given(text=corefiles())
def test_forwarding_adds_one_server_block_and_changes_none(text: str) -> None:
    """All other blocks and imports are read as before."""
    try:
        edited = with_forward(text, SERVER)
    except CorefileError:
        return
    before, after = parse_corefile(text), parse_corefile(edited)
    # Where words stand may differ behind the edit, what they say may not.
    shown = [
        [(block.keys, [(one.name, one.arguments) for one in block.directives]) for block in read.blocks]
        for read in (before, after)
    ]
    assert shown[1][:-1] == shown[0]
    assert shown[1][-1][0][0].startswith("clusterset.local:")
    assert after.imports == before.imports


@given(text=corefiles(), tail=st.sampled_from(["example.net:53 {\n}\n", "# more\n", "\n"]))
def test_what_others_add_meanwhile_stays(text: str, tail: str) -> None:
    """Text that comes behind ours is there when ours goes."""
    try:
        edited = with_forward(text, SERVER)
    except CorefileError:
        return
    assert without(edited + tail) == (text if text.endswith("\n") else f"{text}\n") + tail
