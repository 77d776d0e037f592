"""The store of files: what an edit costs, what a broken file does, and that nothing of it stays."""

from __future__ import annotations

import pytest

from controllers.sources.base import SourceUpdate
from controllers.sources.manifest_store import ManifestStore, Reading
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import Service
from support.cluster_directory import endpoint_slice, export, service, stream

ECHO = ServiceKey("demo", "echo")
OTHER = ServiceKey("demo", "other")


class Directory:
    """A directory that exists in name only, read by a store."""

    def __init__(self, **files: str) -> None:
        self.store = ManifestStore()
        self.files: dict[str, bytes] = {}
        self.first = self.write(**files)

    def write(self, **files: str | bytes) -> SourceUpdate:
        """Write files; ``a`` stands for ``a.yaml``."""
        texts = {f"{name}.yaml": _bytes(text) for name, text in files.items()}
        self.files |= texts
        return self.store.update(Reading(texts, frozenset(self.files)))

    def delete(self, name: str) -> SourceUpdate:
        del self.files[f"{name}.yaml"]
        return self.store.update(Reading({}, frozenset(self.files)))


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def port(update: SourceUpdate, key: ServiceKey = ECHO) -> int | None:
    """The port of a service, None where there is no such service."""
    state = update.state.services.get(key)
    return state.service.ports[0].port if state and state.service else None


def told(update: SourceUpdate) -> list[tuple[str, str]]:
    return [(problem.subject, problem.reason) for problem in update.problems]


def test_objects_of_all_files_make_one_state() -> None:
    """A service is what all files together say of it; an object proves its namespace."""
    update = Directory(a=stream(service(), export()), b=stream(endpoint_slice("echo-2"), endpoint_slice())).first
    state = update.state.services[ECHO]

    assert isinstance(state.service, Service)
    assert state.export is not None
    assert [item.name for item in state.slices] == ["echo-1", "echo-2"]
    assert update.state.namespaces == {"demo"}
    assert update.changed == {ECHO}
    assert update.problems == ()


def test_an_edit_parses_one_document_and_changes_one_service() -> None:
    """Of 5,000 services in one file, editing one parses one document and changes one key."""
    directory = Directory(all=stream(*(service(f"s{index}") for index in range(5000))))
    parsed = directory.store.documents_parsed
    edited = stream(*(service(f"s{index}", port=81 if index == 2500 else 8080) for index in range(5000)))

    update = directory.write(all=edited)

    assert len(update.state.services) == 5000
    assert update.changed == {ServiceKey("demo", "s2500")}
    assert directory.store.documents_parsed - parsed == 1


def test_an_earlier_state_is_not_altered() -> None:
    """What was handed out stays as it was."""
    directory = Directory(a=service())

    directory.write(a=service(port=81))

    assert port(directory.first) == 8080


def test_equal_content_changes_nothing() -> None:
    """Other bytes for the same objects are no change, and the state is the very same object."""
    directory = Directory(a=stream(service(), export()))

    update = directory.write(a=stream(f"# a comment\n{export()}", service()))

    assert update.changed == frozenset()
    assert update.state is directory.first.state


def test_deleting_a_file_removes_its_objects() -> None:
    """What no file states is gone, and shows as changed."""
    directory = Directory(a=service(), b=service("other"))

    update = directory.delete("a")

    assert set(update.state.services) == {OTHER}
    assert update.changed == {ECHO}


def test_removing_a_document_removes_its_object() -> None:
    """In a file that is whole, what isn't there is meant to be gone."""
    directory = Directory(a=stream(service(), service("other")))

    assert set(directory.write(a=service("other")).state.services) == {OTHER}


@pytest.mark.parametrize(
    ("text", "subject", "reason", "path"),
    [
        ("a: [", "b.yaml document 2", "BrokenDocument", ""),
        ("just text", "b.yaml document 2", "WrongType", ""),
        (service(port="'80'"), "b.yaml document 2 (Service demo/echo)", "WrongType", "spec.ports[0].port"),
        (service(port=0), "b.yaml document 2 (Service demo/echo)", "InvalidValue", "spec.ports[0].port"),
        (service().replace("Service", "Srvice"), "b.yaml document 2 (Srvice demo/echo)", "UnknownKind", "kind"),
        (service("other"), "b.yaml document 2 (Service demo/other)", "Duplicate", ""),
        (service("third"), "b.yaml document 2 (Service demo/third)", "Duplicate", ""),
    ],
)  # fmt: skip
def test_a_bad_document_is_reported_and_harms_nobody(text: str, subject: str, reason: str, path: str) -> None:
    """Each fault names file, document, object and field; all other objects are served."""
    update = Directory(a=service("other"), b=stream(service("third"), text, service("fourth"))).first

    assert [(p.subject, p.reason, p.path) for p in update.problems] == [(subject, reason, path)]
    assert {key.name for key in update.state.services} == {"other", "third", "fourth"}


def test_bytes_that_are_no_text_spoil_their_document_only() -> None:
    """Neighbours of a document that isn't UTF-8 are read."""
    update = Directory().write(a=service().encode() + b"---\nname: \xff\n---\n" + service("other").encode())

    assert set(update.state.services) == {ECHO, OTHER}
    assert told(update) == [("a.yaml document 2", "BrokenDocument")]


def test_an_object_that_became_wrong_keeps_its_last_good_version() -> None:
    """It is served as it was, its fault and its standing in are told, and the rest of the file takes effect."""
    directory = Directory(a=stream(service(), service("other")))

    update = directory.write(a=stream(service(port=0), service("other", port=81)))

    assert port(update) == 8080
    assert port(update, OTHER) == 81
    assert update.changed == {OTHER}
    assert update.problems == (
        Problem("a.yaml", "LastGoodInUse", "the last good version stays in use: Service demo/echo"),
        Problem(
            "a.yaml document 1 (Service demo/echo)", "InvalidValue", "0 is not from 1 to 65535", "spec.ports[0].port"
        ),
    )


def test_a_document_that_is_not_understood_keeps_what_is_missing() -> None:
    """Until the file is whole again nobody knows whether the missing object is in the broken document."""
    directory = Directory(a=stream(service(), service("other")))

    broken = directory.write(a=stream(service(port=81), "kind: Serv"))
    still_broken = directory.write(b=export("unrelated"))
    whole = directory.write(a=service(port=81))

    assert (port(broken), port(broken, OTHER)) == (81, 8080)
    assert port(still_broken, OTHER) == 8080
    assert port(whole, OTHER) is None
    assert whole.problems == ()


@pytest.mark.parametrize("cut", range(1, len(service()) - 1))
def test_a_service_is_never_lost_wherever_its_file_was_cut(cut: int) -> None:
    """However little of its file was written, the service is there; cut inside the number it is whole, with another."""
    directory = Directory(a=service())

    update = directory.write(a=service(port=9191)[:cut])

    assert port(update) in {8080, 9, 91, 919, 9191}


def test_a_name_cut_short_does_not_end_the_object() -> None:
    """A wrong object that was never good may be what is left of the one that is missing."""
    directory = Directory(a=service())

    update = directory.write(a="apiVersion: v1\nkind: Service\nmetadata:\n  namespace: demo\n  name: ech")

    assert port(update) == 8080
    assert ("a.yaml", "LastGoodInUse") in told(update)


def test_a_foreign_kind_is_reported_but_hides_nothing() -> None:
    """A Deployment among the manifests is no doubt about the others: removing one still takes effect."""
    deployment = service().replace("v1", "apps/v1").replace("Service", "Deployment")
    directory = Directory(a=stream(service(), service("other"), deployment))

    update = directory.write(a=stream(service(), deployment))

    assert set(update.state.services) == {ECHO}
    assert told(update) == [("a.yaml document 2 (Deployment.apps demo/echo)", "UnknownKind")]


@pytest.mark.parametrize("blank", ["", " \n\n", "\ufeff"])
def test_a_file_that_became_empty_keeps_its_objects(blank: str) -> None:
    """An editor truncates before it writes; only deleting the file says that its objects shall go."""
    directory = Directory(a=service())

    update = directory.write(a=blank)
    deleted = directory.delete("a")

    assert port(update) == 8080
    assert update.problems == (
        Problem("a.yaml", "EmptyFile", "file is empty; delete it to remove its objects: Service demo/echo"),
    )
    assert port(deleted) is None
    assert deleted.problems == ()


def test_a_file_that_was_always_empty_is_no_problem() -> None:
    """There is nothing that it could hide."""
    assert Directory(a="", b="# nothing yet\n").first.problems == ()


def test_a_file_of_comments_removes_its_objects() -> None:
    """Somebody wrote them: the file is whole."""
    directory = Directory(a=service())

    assert directory.write(a="# moved\n").state.services == {}


def test_an_object_that_moves_while_its_old_file_breaks_is_the_new_one() -> None:
    """A good version beats a stand-in, wherever it is."""
    directory = Directory(a=service())

    update = directory.write(a="a: [", z=service(port=81))

    assert port(update) == 81
    assert told(update) == [("a.yaml document 1", "BrokenDocument")]


def test_an_object_that_moves_into_a_wrong_version_keeps_the_good_one() -> None:
    """The file that has it wrong mentions it, so it isn't gone; the problem is told of that file."""
    directory = Directory(a=service(), b=service("other"))
    del directory.files["a.yaml"]

    update = directory.write(b=stream(service("other"), service(port=0)))

    assert port(update) == 8080
    assert ("b.yaml", "LastGoodInUse") in told(update)


def test_the_first_of_two_counts_by_file_and_position() -> None:
    """Which version counts doesn't depend on which file was written first."""
    directory = Directory(b=service(port=2))

    update = directory.write(a=stream(service(port=1), service(port=3)))

    assert port(update) == 1
    assert update.problems == (
        Problem(
            "a.yaml document 2 (Service demo/echo)",
            "Duplicate",
            "is already defined in a.yaml document 1, which counts",
        ),
        Problem(
            "b.yaml document 1 (Service demo/echo)",
            "Duplicate",
            "is already defined in a.yaml document 1, which counts",
        ),
    )
    assert port(directory.delete("a")) == 2


def test_places_in_what_is_told_of_duplicates_follow_an_edit() -> None:
    """A document put in before them moves both, though neither was touched."""
    rest = (service("fourth"), service(), service())
    directory = Directory(a=stream(service("third"), *rest))

    update = directory.write(a=stream(service("third"), service("other"), *rest))

    assert [(problem.subject, problem.message) for problem in update.problems] == [
        ("a.yaml document 5 (Service demo/echo)", "is already defined in a.yaml document 4, which counts")
    ]


def test_a_look_at_some_files_says_nothing_of_others() -> None:
    """Others stay, also those that can't be read; one that can be read again is no problem any more."""
    store = ManifestStore()
    texts = {name: service(name[0]).encode() for name in ("a.yaml", "b.yaml", "c.yaml", "d.yaml")}
    unreadable = dict.fromkeys(("a.yaml", "c.yaml"), "permission denied")
    store.update(Reading(texts, frozenset(texts)))
    store.update(Reading({}, frozenset(texts), unreadable))

    update = store.update(Reading({}, frozenset({"a.yaml"}), looked_at=frozenset({"a.yaml", "b.yaml"})))

    assert {key.name for key in update.state.services} == {"a", "c", "d"}
    assert told(update) == [("c.yaml", "Unreadable")]


def test_problems_that_stay_are_the_same_object() -> None:
    """Thousands of them cost nothing where they don't change."""
    directory = Directory(a=service(port=0), b=service("other"))

    assert directory.write(b=service("other", port=81)).problems is directory.first.problems


def test_a_slice_can_move_to_another_service() -> None:
    """Both services change."""
    directory = Directory(a=endpoint_slice())

    update = directory.write(a=endpoint_slice(service_name="other"))

    assert update.changed == {ECHO, OTHER}
    assert set(update.state.services) == {OTHER}


def test_json_is_one_document_and_a_list_many_objects() -> None:
    """A .json file is read as JSON; a fault in a List names the item."""
    name = {"name": "x", "namespace": "demo"}
    text = f"""{{"apiVersion": "v1", "kind": "List", "items": [
        {{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "x"}}}},
        {{"apiVersion": "v1", "kind": "Service", "metadata": {str(name).replace("'", '"')}}}]}}"""
    store = ManifestStore()

    update = store.update(Reading({"a.json": text.encode()}, frozenset({"a.json"})))

    assert update.state.namespaces == {"x"}
    assert update.problems == (
        Problem("a.json document 1 (Service demo/x)", "Required", "is required", "items[1].spec.ports"),
    )


def test_what_can_not_be_read_is_unknown_not_absent() -> None:
    """Unreadable files and directories keep their objects, with a problem each; readable ones go on."""
    store = ManifestStore()
    texts = {f"{name}.yaml": service(name.replace("/", "-")).encode() for name in ("a", "d/b", "d/e/c", "f")}
    store.update(Reading(texts, frozenset(texts)))

    update = store.update(
        Reading({}, frozenset({"a.yaml"}), {"a.yaml": "permission denied"}, {"d": "input/output error"})
    )

    assert {key.name for key in update.state.services} == {"a", "d-b", "d-e-c"}
    assert update.problems == (
        Problem("a.yaml", "Unreadable", "permission denied; what was last read of it stays in use"),
        Problem("d", "Unreadable", "input/output error; what was last read of it stays in use"),
    )


def test_an_unreadable_top_changes_nothing() -> None:
    """Nothing is known, so nothing changes."""
    directory = Directory(a=service())

    update = directory.store.update(Reading({}, frozenset(), {}, {".": "no such file or directory"}))

    assert update.state is directory.first.state
    assert told(update) == [(".", "Unreadable")]


def test_long_lists_of_stand_ins_are_cut() -> None:
    """A message of a file with thousands of objects stays readable."""
    directory = Directory(a=stream(*(service(f"s{index}") for index in range(7))))

    (problem,) = directory.write(a="").problems

    assert problem.message.endswith("Service demo/s0, Service demo/s1, Service demo/s2, Service demo/s3, "
                                    "Service demo/s4 and 2 more")  # fmt: skip
