"""What Envoy's log says of its end, and what must not be repeated of it."""

from __future__ import annotations

from federation.app.envoy_log import MAX_CHARACTERS, last_words

HEAD = "[2026-01-31 12:47:30.118][28366]"


def test_why_it_does_not_start() -> None:
    """Of a start that fails, the cause alone is told: neither prefix nor the file that Envoy names."""
    log = (
        f"{HEAD}[warning][main] [source/server/server.cc:1059] There is no configured limit\n"
        f"{HEAD}[critical][main] [source/server/server.cc:449] error `cannot bind '127.0.0.1:15000': Address already "
        "in use` initializing config 'goo.gle/debugonly\n  /state/gateway/envoy.json'\n"
        "cannot bind '127.0.0.1:15000': Address already in use\n"
    )
    assert last_words(log) == "cannot bind '127.0.0.1:15000': Address already in use"


def test_a_crash_is_told_without_its_backtrace() -> None:
    """The first critical line names the crash; what follows it are addresses."""
    log = (
        f"{HEAD}[error][main] [a.cc:1] earlier trouble\n"
        f"{HEAD}[critical][backtrace] [./signal_action.h:129] Caught Segmentation fault, suspect faulting address 0x0\n"
        f"{HEAD}[critical][backtrace] [./server.h:96] #0: __restore_rt [0x7f]\n"
    )
    assert last_words(log) == "Caught Segmentation fault, suspect faulting address 0x0"


def test_the_last_error_counts_where_nothing_is_critical() -> None:
    """An error is worth more than the warnings after it, a later error more than an earlier one."""
    log = f"{HEAD}[error][a] first\n{HEAD}[error][b] second\n{HEAD}[warning][c] third\n"
    assert last_words(log) == "second"


def test_what_is_no_log_line_counts_where_there_is_nothing_else() -> None:
    """A loader's or a parser's last word is told too."""
    assert last_words("Usage: envoy\n\nlibc.so.6: version not found\n\n") == "libc.so.6: version not found"


def test_silence_is_empty() -> None:
    """Killed by a signal, Envoy says nothing."""
    assert last_words("") == ""


def test_the_words_are_bounded() -> None:
    """However long the line, a bounded beginning is told."""
    words = last_words(f"{HEAD}[error][main] {'x' * 2 * MAX_CHARACTERS}")
    assert words == "x" * MAX_CHARACTERS + "…"
