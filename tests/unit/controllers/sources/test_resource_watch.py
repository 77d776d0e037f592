"""One resource kept current, against an API that plays a script: what is asked, when, and what is taken in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from controllers.kube.client import KubeError
from controllers.sources.resource_watch import Packed, Patience, ResourceWatch
from controllers.sources.watched_objects import RESOURCES, Resource, WatchedObjects
from support.virtual_time import run_virtually

SERVICES = next(one for one in RESOURCES if one.kind == "Service")
EXPORTS = next(one for one in RESOURCES if one.kind == "ServiceExport")
SLICES = next(one for one in RESOURCES if one.kind == "EndpointSlice")
POLICIES = next(one for one in RESOURCES if one.kind == "TrafficPolicy")
UNREACHABLE = KubeError("the API server can't be reached")
GONE = KubeError("too old", status=410)
NOT_SERVED = KubeError("not found", status=404)


def service(name: str, version: int = 1) -> dict[str, Any]:
    metadata = {"namespace": "demo", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"ports": [{"port": 80}]}}


def page(*items: dict[str, Any], version: int = 5, rest: str = "") -> dict[str, Any]:
    return {"items": list(items), "metadata": {"resourceVersion": str(version), "continue": rest}}


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


class ScriptedApi:
    """Answers in order, a page or an error to a list, events and then perhaps an error to a watch; then it is over."""

    def __init__(self, *answers: dict[str, Any] | list[dict[str, Any] | KubeError] | KubeError) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.times: list[float] = []
        self.opened = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ScriptedApi]:
        self.opened += 1
        yield self

    def _next(self, path: str, query: Mapping[str, str]) -> Any:
        self.asked.append((path, dict(query)))
        self.times.append(asyncio.get_running_loop().time())
        if not self._answers:
            raise asyncio.CancelledError
        answer = self._answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Mapping[str, object]:
        assert timeout_seconds > 0
        return dict(self._next(path, query))

    @asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[Mapping[str, object]]]:
        assert silence_seconds > 0
        events = self._next(path, {**query, "watch": "true"})

        async def stream() -> AsyncIterator[Mapping[str, object]]:
            for one in events:
                if isinstance(one, KubeError):
                    raise one
                yield one

        yield stream()

    @property
    def versions(self) -> list[str]:
        """Where each watch began; ``list`` for a list."""
        return [query["resourceVersion"] if "watch" in query else "list" for _, query in self.asked]


class Told(WatchedObjects):
    """What is taken in, in words."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def replace(self, resource: Resource, items: Any) -> None:
        self.words.append("list " + " ".join(item["metadata"]["name"] for item in items))

    def put(self, resource: Resource, item: Any) -> None:
        self.words.append(f"put {item['metadata']['name']}")

    def remove(self, resource: Resource, item: Any) -> None:
        self.words.append(f"remove {item['metadata']['name']}")

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        self.words.append(f"unreadable: {cause}")


def play(
    *answers: Any, resource: Resource = SERVICES, patience: Patience | None = None
) -> tuple[ScriptedApi, list[str]]:
    """The API as it was asked, and what was taken in, once the script is over."""
    api, told = ScriptedApi(*answers), Told()

    async def run() -> None:
        with suppress(asyncio.CancelledError):
            await ResourceWatch(api.open, resource, told, lambda: None, patience or Patience()).run()

    run_virtually(run())
    return api, told.words


def test_pages_are_one_list() -> None:
    """Nothing is taken in before the last page; the watch begins at the list's version."""
    api, words = play(page(service("a"), rest="more"), page(service("b"), version=7), [])

    assert words == ["list a b"]
    assert [query.get("continue") for _, query in api.asked[:2]] == [None, "more"]
    assert api.versions == ["list", "list", "7", "7"]


@pytest.mark.parametrize("failure", [UNREACHABLE, GONE])
def test_a_list_that_breaks_off_is_none(failure: KubeError) -> None:
    """What its first pages had is forgotten, and it begins anew from the first."""
    api, words = play(page(service("a"), rest="more"), failure, page(service("b")), [])

    assert words == [f"unreadable: {failure}", "list b"]
    assert [query.get("continue") for _, query in api.asked[:3]] == [None, "more", None]


def test_events_are_taken_in_and_move_the_place_to_resume_from() -> None:
    """Bookmarks too, which are nothing else; an event of an unknown type is ignored."""
    events = [
        event("ADDED", service("a", 6)),
        event("MODIFIED", service("a", 7)),
        event("DELETED", service("a", 8)),
        event("SOMETHING", service("x", 9)),
        event("BOOKMARK", {"metadata": {"resourceVersion": "50"}}),
    ]
    api, words = play(page(), events, [], [UNREACHABLE], [])

    assert words == ["list ", "put a", "put a", "remove a", f"unreadable: {UNREACHABLE}"]
    assert api.versions == ["list", "5", "50", "50", "50", "50"]
    assert api.opened == 2


@pytest.mark.parametrize(
    "gone",
    [GONE, [GONE], [event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})]],
)
def test_what_can_not_be_resumed_is_listed_again(gone: Any) -> None:
    """Whether that is answered at once, or told by an event; it is no trouble to speak of."""
    api, words = play(page(service("a")), gone, page(service("b"), version=9), [])

    assert words == ["list a", "list b"]
    assert api.versions == ["list", "5", "list", "9", "9"]


def test_another_error_of_a_watch_is_told_and_resumed() -> None:
    """A 500 in the stream says nothing of the version."""
    api, words = play(page(), [event("ERROR", {"code": 500, "message": "etcd is away"})], [])

    assert words == ["list ", "unreadable: the API server refuses: etcd is away"]
    assert api.versions == ["list", "5", "5", "5"]


def test_a_resource_that_is_not_served_is_asked_for_in_its_other_version() -> None:
    """And listed anew there, also after it was served once."""
    api, words = play(NOT_SERVED, page(), NOT_SERVED, page(), [], resource=EXPORTS)

    root = "/apis/multicluster.x-k8s.io"
    beta, alpha = f"{root}/v1beta1/serviceexports", f"{root}/v1alpha1/serviceexports"
    assert [path for path, _ in api.asked] == [beta, alpha, alpha, beta, beta, beta]
    assert words[0] == "unreadable: the API server does not serve serviceexports"


def test_a_resource_that_a_cluster_may_lack_is_not_waited_for() -> None:
    """While it never was served there is none of it; once it was, what is known of it stays."""
    _, words = play(NOT_SERVED, page(service("a")), NOT_SERVED, resource=POLICIES)

    assert words[:3] == ["list ", "unreadable: the API server does not serve trafficpolicies", "list a"]
    assert words[3:] == ["unreadable: the API server does not serve trafficpolicies"]


def test_a_selection_goes_along_with_lists_and_watches() -> None:
    """A watch without it would tell of more than the list."""
    api, _ = play(page(), [], resource=SLICES)

    assert [query["labelSelector"] for _, query in api.asked] == ["kubernetes.io/service-name"] * 3


@pytest.mark.parametrize("answer", [{"items": None, "metadata": {}}, {"items": []}, {}])
def test_an_answer_that_is_no_list_is_a_failure(answer: dict[str, Any]) -> None:
    """A proxy's page must not count as a cluster without services."""
    _, words = play(answer, page(service("a")), [])

    assert words == ["unreadable: the API server's list of services is none", "list a"]


def test_attempts_grow_apart_up_to_a_limit_and_close_up_after_success() -> None:
    """Each wait is from half to the whole of what it doubles to; a watch that ends at once is followed by a pause."""
    patience = Patience(first_retry_seconds=1.0, last_retry_seconds=8.0)
    api, _ = play(*[UNREACHABLE] * 6, page(), [], UNREACHABLE, [], patience=patience)

    waits = [after - before for before, after in zip(api.times, api.times[1:], strict=False)]
    longest = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 0.0, 1.0, 1.0, 1.0]
    assert [most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True)] == [True] * 10


def test_a_list_can_be_gone_through_again_and_again() -> None:
    """Each follower does, and none has all of it unpacked at once."""
    packed = Packed([b'{"a":1}', b'{"a":2}'])

    assert [list(packed), list(packed)] == [[{"a": 1}, {"a": 2}]] * 2
    assert (len(packed), {"a": 2} in packed, {"a": 3} in packed) == (2, True, False)
