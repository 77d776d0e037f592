"""Resources as they travel: content version, cached wire bytes; sets of them, and the gate before the cache.

Sits between `translate`, which makes messages, and `cache`, which holds sets. A repeated protobuf field is a
concatenation, so the bytes of one entry of ``DeltaDiscoveryResponse.resources`` are made once, and a response
is a join of them. The version is a hash of the content: any replica gives the same answer, and a rebuild that
changed nothing sends nothing. Pure.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from federation.model.problems import Problem
from gateway.xds import protos
from gateway.xds.references import Reference, references_of

_VERSION_CHARS = 16


@dataclass(frozen=True, slots=True)
class Resource:
    """One named resource. The bytes may hold a private key, so they never show in a repr."""

    type_url: str
    name: str
    version: str
    """First 16 hex digits of the SHA-256 of the message's deterministic bytes."""
    chunk: bytes = field(repr=False)
    """Wire bytes of one entry of ``DeltaDiscoveryResponse.resources``, tag and length included."""
    references: tuple[Reference, ...] = field(default=(), repr=False)

    @property
    def key(self) -> Reference:
        return Reference(self.type_url, self.name)


def make_resource(type_url: str, name: str, message: protos.Message) -> Resource:
    """The resource of a message."""
    return resource_of_bytes(
        type_url, name, (message.SerializeToString(deterministic=True),), references_of(type_url, message)
    )


def resource_of_bytes(
    type_url: str, name: str, parts: Sequence[bytes | memoryview], references: tuple[Reference, ...]
) -> Resource:
    """The resource of a message that is at hand as its bytes, in parts that are joined.

    Joined once: protobuf would copy them from message to message, and the route table of 5,000 services has 17 MB.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    version = digest.hexdigest()[:_VERSION_CHARS]
    size = sum(map(len, parts))
    # DeltaDiscoveryResponse.resources 2: Resource {version 1, resource 2: Any {type_url 1, value 2}, name 3}
    any_ = (*_field(1, type_url.encode()), *((_head(2, size), *parts) if size else ()))
    entry = (*_field(1, version.encode()), _head(2, sum(map(len, any_))), *any_, *_field(3, name.encode()))
    chunk = b"".join((_head(2, sum(map(len, entry))), *entry))
    return Resource(type_url, name, version, chunk, references)


def content_end(resource: Resource) -> int:
    """Where the message's bytes end in the resource's: only the resource's name comes after them."""
    return len(resource.chunk) - sum(map(len, _field(3, resource.name.encode())))


def _field(number: int, content: bytes) -> tuple[bytes, bytes]:
    return _head(number, len(content)), content


def _head(number: int, size: int) -> bytes:
    """What stands before ``size`` bytes of a field in protobuf's wire format: its tag, and the size as a varint."""
    found = bytearray((number << 3 | 2,))
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)


def message_of(resource: Resource) -> protos.Message:
    """The message inside a resource's bytes, for printing."""
    entry = protos.DeltaDiscoveryResponse.FromString(resource.chunk).resources[0]
    return protos.unpack(entry.resource, protos.MESSAGES[resource.type_url])


def message_bytes(resource: Resource) -> bytes:
    """The bytes of the message inside a resource's, to be joined to others."""
    content: bytes = protos.DeltaDiscoveryResponse.FromString(resource.chunk).resources[0].resource.value
    return content


def response_bytes(type_url: str, nonce: str, resources: Sequence[Resource], removed: Sequence[str]) -> bytes:
    """A DeltaDiscoveryResponse on the wire, from the cached bytes of its resources."""
    head = protos.DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=removed)
    return b"".join((head.SerializeToString(), *(resource.chunk for resource in resources)))


class ResourceSet:
    """An immutable set of resources by type and name, which also knows how often each name is referred to.

    A change copies the name table of the types that it touches and nothing else (25 µs for 10,000 names).
    """

    __slots__ = ("_by_type", "_referred")

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        """Of two resources with one key the later counts; `check_consistency` reports such pairs."""
        self._by_type: dict[str, dict[str, Resource]] = {}
        self._referred: dict[str, Counter[str]] = {}
        self._change({}, {resource.key: resource for resource in resources})

    def with_changes(self, upserts: Iterable[Resource], removals: Iterable[Reference] = ()) -> ResourceSet:
        """The set after a change; a key that is both removed and upserted is upserted."""
        added = {resource.key: resource for resource in upserts}
        gone = {key: resource for key in removals if (resource := self.get(*key)) is not None}
        changed = ResourceSet()
        changed._by_type = dict(self._by_type)
        changed._referred = dict(self._referred)
        for type_url in {key.type_url for key in (*added, *gone)} & self._by_type.keys():
            changed._by_type[type_url] = self._by_type[type_url].copy()
        gone.update((key, old) for key in added if (old := self.get(*key)) is not None)
        referred = {ref.type_url for item in (*added.values(), *gone.values()) for ref in item.references}
        for type_url in referred & self._referred.keys():
            changed._referred[type_url] = self._referred[type_url].copy()
        changed._change(gone, added)
        return changed

    def _change(self, gone: Mapping[Reference, Resource], added: Mapping[Reference, Resource]) -> None:
        for key, resource in gone.items():
            del self._by_type[key.type_url][key.name]
            for type_url, name in resource.references:
                self._referred[type_url][name] -= 1
                if not self._referred[type_url][name]:
                    del self._referred[type_url][name]
        for key, resource in added.items():
            self._by_type.setdefault(key.type_url, {})[key.name] = resource
            for type_url, name in resource.references:
                self._referred.setdefault(type_url, Counter())[name] += 1

    def get(self, type_url: str, name: str) -> Resource | None:
        return self._by_type.get(type_url, {}).get(name)

    def names(self, type_url: str) -> Iterable[str]:
        """All names of a type, in the order in which they were first set."""
        return self._by_type.get(type_url, {}).keys()

    def refers_to(self, key: Reference) -> bool:
        """Whether some resource of the set names that one."""
        return key.name in self._referred.get(key.type_url, ())

    def __contains__(self, key: Reference) -> bool:
        return self.get(*key) is not None

    def __iter__(self) -> Iterator[Resource]:
        for resources in self._by_type.values():
            yield from resources.values()

    def __len__(self) -> int:
        return sum(len(resources) for resources in self._by_type.values())


def difference(old: ResourceSet, new: ResourceSet) -> tuple[tuple[Resource, ...], tuple[Reference, ...]]:
    """What turns the old set into the new one: resources with another version, and keys that are gone."""
    upserts = tuple(resource for resource in new if _version(old, resource.key) != resource.version)
    return upserts, tuple(resource.key for resource in old if resource.key not in new)


def _version(resources: ResourceSet, key: Reference) -> str | None:
    found = resources.get(*key)
    return found.version if found is not None else None


def check_consistency(
    after: ResourceSet,
    upserts: Sequence[Resource],
    removals: Iterable[Reference],
    *,
    below: ResourceSet | None = None,
    above: Iterable[ResourceSet] = (),
) -> tuple[Problem, ...]:
    """What is wrong with a change of one layer, judged on what changed only; empty if it may be served.

    ``after`` is the layer with the change, ``below`` the shared layer under a node's own, ``above``
    the nodes' layers over a shared one. A resource may refer to its own layer and to the one below.
    Checked: no name twice in a change or in two layers of one view, every reference resolves, and
    nothing that is still referred to is removed.
    """
    found = [_duplicate(key, "in one change") for key, times in _counts(upserts).items() if times > 1]
    above = tuple(above)
    for resource in upserts:
        if any(resource.key in layer for layer in (*above, below or ())):
            found.append(_duplicate(resource.key, "in a shared and in a node's layer"))
        found += (
            Problem(_subject(resource.key), "UnresolvedReference", f"refers to {_subject(ref)}, which is absent")
            for ref in resource.references
            if ref not in after and (below is None or ref not in below)
        )
    for key in removals:
        if key not in after and any(layer.refers_to(key) for layer in (after, *above)):
            message = "is removed while another resource refers to it"
            found.append(Problem(_subject(key), "StillReferenced", message))
    return tuple(sorted(found))


def _counts(resources: Iterable[Resource]) -> Counter[Reference]:
    return Counter(resource.key for resource in resources)


def _duplicate(key: Reference, where: str) -> Problem:
    return Problem(_subject(key), "DuplicateName", f"appears more than once {where}")


def _subject(key: Reference) -> str:
    return f"{key.type_url.rpartition('.')[2]} {key.name}"
