"""Tokens as a kubelet asks for them, and the volume that it keeps them in."""

from __future__ import annotations

import uuid
from pathlib import Path

from support.kube.caller import Caller
from support.kube.objects import Json
from support.kube.site import CORE


async def made_pod(admin: Caller, namespace: str, account: str, name: str) -> None:
    """A pod that runs as a service account; namespace and account are made where they are missing."""
    accounts = f"{CORE}/namespaces/{namespace}/serviceaccounts"
    pod = {"serviceAccountName": account, "containers": [{"name": "app", "image": "app"}]}
    wanted: list[tuple[str, Json]] = [
        (f"{CORE}/namespaces", {"metadata": {"name": namespace}}),
        (accounts, {"metadata": {"name": account}}),
        (f"{CORE}/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": pod}),
    ]
    for path, body in wanted:
        reply = await admin.post(path, body)
        assert reply.code in {201, 409}, reply


async def pod_token(admin: Caller, namespace: str, account: str, pod: str, audience: str) -> str:
    """A token for the pod's projected volume."""
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod}
    spec = {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}
    path = f"{CORE}/namespaces/{namespace}/serviceaccounts/{account}/token"
    reply = await admin.post(path, {"spec": spec})
    assert reply.code == 201, reply
    token: str = reply.body["status"]["token"]
    return token


def project(volume: Path, **files: str) -> None:
    """Put the files into a volume as the kubelet does: a directory per version, and one link that is swapped."""
    volume.mkdir(exist_ok=True)
    version = volume / f"..{uuid.uuid4().hex}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_text(content)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(Path("..data") / name)
    fresh = volume / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.replace(volume / "..data")
