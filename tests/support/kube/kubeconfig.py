"""Kubeconfigs: who asks which API server."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from support.kube.objects import Json
from support.kube.pki import Pair


def kubeconfig(
    name: str, url: str, ca_pem: str, *, token: str | None = None, pair: Pair | None = None, namespace: str = "default"
) -> Json:
    """The kubeconfig of one cluster for the holder of a token or of a certificate."""
    user = {"token": token} if token else {}
    if pair is not None:
        user = {"client-certificate-data": _text(pair.certificate), "client-key-data": _text(pair.key)}
    context = {"cluster": name, "user": "user", "namespace": namespace}
    cluster = {"server": url, "certificate-authority-data": _text(ca_pem.encode())}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def write_private(path: Path, content: bytes) -> Path:
    """A file that only its owner reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return path


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
