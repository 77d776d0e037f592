"""cluster.yaml as `federation init` and `federation join` write it, or hold an existing one against what is agreed.

An existing file is the user's: it is never rewritten. The text is made by pure functions, the file by its owner's call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from federation.app.kube.base_settings import BASE_FILE, composed
from federation.app.member_files import EXCHANGE_CA, EXCHANGE_CREDENTIALS, MemberFiles
from federation.app.sites import CLUSTER_FILE, load_cluster
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.model.exchange_address import ExchangeAddress


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings of a cluster must say for it to be the member that it is (to be)."""

    clusterset: str
    cluster: str
    trust_domain: str
    exchange: ExchangeAddress
    pinned: bool = False
    """Whether the exchange is known by a CA of its own."""
    credentials: bool = False
    """Whether the exchange asks for a password."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a new cluster.yaml says besides: where the cluster is, and how it is reached."""

    region: str
    network: str = ""
    zone: str = ""
    gateway: str = ""
    """``IP:PORT``; empty: the default, on loopback."""


def cluster_text(terms: Terms, place: Place) -> str:
    """The text of a new cluster.yaml."""
    exchange = {"url": str(terms.exchange)}
    exchange |= {"caFile": EXCHANGE_CA} if terms.pinned else {}
    exchange |= {"credentialsFile": EXCHANGE_CREDENTIALS} if terms.credentials else {}
    settings: dict[str, object] = {
        "clusterset": terms.clusterset,
        "cluster": terms.cluster,
        **({"region": place.region} if place.region else {}),
        "trustDomain": terms.trust_domain,
        "exchange": exchange,
    }
    settings |= {"network": place.network} if place.network else {}
    settings |= {"zone": place.zone} if place.zone else {}
    settings |= {"gateway": {"listen": place.gateway}} if place.gateway else {}
    body: str = yaml.safe_dump(settings, sort_keys=False)
    return f"# Settings of this cluster; docs/reference/cluster.yaml shows all there are.\n{body}"


def settle(directory: Path, terms: Terms, place: Place | None, files: MemberFiles) -> ClusterSettings:
    """The settings in ``directory``; a file that is not there is made by way of ``files``, for which ``place`` is
    needed unless an installation in Kubernetes has left its settings there.

    Raises ConfigError where the file that is there says otherwise than ``terms``, naming every key.
    """
    path, base = directory / CLUSTER_FILE, directory / BASE_FILE
    if not path.exists():
        if base.exists():
            text = composed(base.read_text(encoding="utf-8"), cluster_text(terms, place or Place("")))
        elif place is None:
            raise ConfigError(
                f"{path} is not there, and no region is given to make it",
                hint="name the cluster's region with --region",
            )
        else:
            text = cluster_text(terms, place)
        files.put_text(path, text)
        return load_cluster(directory)
    settings = load_cluster(directory)
    if broken := _differences(settings, directory.absolute(), terms):
        raise ConfigError(
            f"{path} disagrees: {'; '.join(broken)}",
            violations=broken,
            hint="set these keys so, or move the file away to have one made",
        )
    return settings


def _differences(settings: ClusterSettings, directory: Path, terms: Terms) -> list[str]:
    wanted: list[tuple[str, object, object]] = [
        ("clusterset", settings.clusterset, terms.clusterset),
        ("cluster", settings.cluster, terms.cluster),
        ("trustDomain", settings.trust_domain, terms.trust_domain),
        ("exchange.url", settings.exchange.url, terms.exchange),
    ]
    if terms.pinned:
        wanted.append(("exchange.caFile", settings.exchange.ca_file, directory / EXCHANGE_CA))
    if terms.credentials:
        wanted.append(
            ("exchange.credentialsFile", settings.exchange.credentials_file, directory / EXCHANGE_CREDENTIALS)
        )
    return [f"{key}: is {is_ or 'not set'}, must be {must}" for key, is_, must in wanted if is_ != must]
