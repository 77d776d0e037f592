"""Settings of a cluster in Kubernetes, put together from what the installation says and what the membership does. Pure.

The ConfigMap of the installation holds a cluster.yaml without the membership: regions, listeners, times. Who the
cluster is comes with ``federation init`` or ``join``, and is the membership's to say from then on. Where the exchange
is comes with it too, until an installation says otherwise, which moves the member.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from federation.model.configuration import ClusterSettings
from federation.model.documents import read_yaml
from federation.model.errors import ConfigError
from federation.model.settings import parse_cluster_settings

BASE_FILE: Final = "base.yaml"
"""In the cluster's directory: the installation's settings, beside the cluster.yaml that is made of them."""

_MEMBERSHIP: Final = ("clusterset", "cluster", "trustDomain")
_WITH_MEMBERSHIP: Final = ("region", "network", "zone", "gateway")
"""What init and join say besides, where the installation says nothing."""
_EXCHANGE: Final = ("url", "caFile", "credentialsFile")
"""Of the exchange likewise; the rest is the installation's alone, and gone when it says no more of it."""
# Never seen by anybody: they stand for the membership while there is none, so that the rest can be judged.
_NOBODY: Final[Mapping[str, Any]] = {
    "clusterset": "nobody",
    "cluster": "nobody",
    "region": "nobody",
    "trustDomain": "nobody.invalid",
    "exchange": {"url": "redis://nobody.invalid"},
}
_HEAD: Final = "# Made of the installation's settings and of the membership at every start: edit the former.\n"


def composed(base: str, known: str) -> str:
    """The text of a cluster.yaml: the installation's ``base``, but for who the cluster is, which ``known`` (an earlier
    cluster.yaml, or that of a new membership) says, and where its exchange is, which ``known`` says as long as ``base``
    does not. Raises ConfigError where one of them is no YAML mapping."""
    installed, member = _mapping(base, "the installation's settings"), _mapping(known, "cluster.yaml")
    exchange = {**_some(_section(member, "exchange"), _EXCHANGE), **_section(installed, "exchange")}
    with_membership = _some(member, _WITH_MEMBERSHIP)
    whole = {**with_membership, **installed, **_some(member, _MEMBERSHIP), "exchange": exchange}
    text: str = yaml.safe_dump(whole, sort_keys=False)
    return _HEAD + text


def parse_base_settings(base: str, *, directory: Path) -> ClusterSettings:
    """The installation's settings as far as they are its own; who the cluster is means nothing in the result. Raises
    ConfigError with every violation."""
    installed = _mapping(base, "the installation's settings")
    exchange = {**_NOBODY["exchange"], **_section(installed, "exchange")}
    whole = {**_NOBODY, **installed, "exchange": exchange}
    settings = parse_cluster_settings(yaml.safe_dump(whole), directory=directory)
    if settings.kubernetes is None:
        raise ConfigError(
            "the installation's settings have no section kubernetes",
            hint="add `kubernetes: {}`; without it a cluster's manifests are read from its directory",
        )
    home = directory.absolute()
    places = {
        "stateDirectory": (settings.state_directory, home / "state"),
        "memberKeyFile": (settings.member_key_file, home / "member.key"),
        "authorityDirectory": (settings.authority_directory, home / "authority"),
    }
    if moved := [key for key, (said, usual) in places.items() if said.absolute() != usual]:
        raise ConfigError(
            f"the installation's settings move {', '.join(moved)}: what is there would not be shared",
            violations=moved,
            hint="leave these keys out; in Kubernetes the Secret holds what is in their usual places",
        )
    return settings


def _mapping(text: str, what: str) -> dict[str, Any]:
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{what} can't be read: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise ConfigError(f"{what} can't be read: it is no mapping")
    return dict(document)


def _some(document: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: document[key] for key in keys if key in document}


def _section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return dict(found) if isinstance(found, Mapping) else {}
