"""Thousands of histories of a clusterset under faults: what is shown is signed, never older, and in the end the same.

`pytest tests/simulation --seed N` replays one history and prints what happened in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from federation.exchange.signing import MemberKey
from support.cheap_signatures import CheapKey, cheap_signatures
from support.simulation import run_history

MEMORY = Path("/dev/shm")
HISTORIES = 2000
SOAKED = 40_000
IN_ONE_TEST = 100


def chunks(first: int, last: int) -> list[range]:
    return [range(start, min(start + IN_ONE_TEST, last)) for start in range(first, last, IN_ONE_TEST)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One seed where one is asked for, else all in chunks."""
    if "seeds" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--seed")
        soaked = metafunc.function is test_long_run_of_histories
        chosen = chunks(HISTORIES, SOAKED) if soaked else chunks(0, HISTORIES)
        if seed is not None:
            chosen = [] if soaked else [range(seed, seed + 1)]
        metafunc.parametrize("seeds", chosen, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged of all the faults helps nobody, and takes half of the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where the disks of the members are: in memory where the system offers that, since they are forced out often."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


def test_histories(seeds: Sequence[int], directory: Path) -> None:
    """Whatever befalls store, members and disks: only signed words are shown, none after newer ones, and all agree."""
    with cheap_signatures():
        for seed in seeds:
            events = run_history(seed, directory / str(seed), CheapKey)
    if len(seeds) == 1:
        print("\n".join(events))


def test_histories_with_real_signatures(directory: Path) -> None:
    """The same holds with Ed25519 in place of the cheap signatures."""
    for seed in range(20):
        run_history(seed, directory / str(seed), MemberKey)


def test_a_seed_is_a_history(directory: Path) -> None:
    """The same seed gives the same history, to the last event and the last bit of its times."""
    with cheap_signatures():
        for seed in range(20):
            first, second = (run_history(seed, directory / str(seed), CheapKey) for _ in range(2))
            assert first == second


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_long_run_of_histories(seeds: Sequence[int], directory: Path) -> None:
    """Many more histories."""
    test_histories(seeds, directory)
