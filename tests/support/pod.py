"""What a pod's proxy finds mounted: a token that only looks like one, and a trust bundle."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from support.certificates import make_ca
from support.clock import START


def service_account_token(*audiences: str) -> str:
    """A JWT for these audiences, signed by nobody."""
    parts = [{"alg": "none"}, {"aud": list(audiences)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def trust_bundle(*uris: str) -> str:
    """CA certificates (PEM), one for each SPIFFE ID; an empty one for a CA that names none."""
    return "".join(make_ca(START, uris=[uri] if uri else []).pem for uri in uris)


def mounted(directory: Path, *, audience: str = "federation.acme", domain: str = "spiffe://us-east.acme") -> list[str]:
    """The volumes of a pod, below ``directory``; returns the options that name them."""
    token, trust = directory / "token", directory / "bundle.pem"
    token.write_text(service_account_token(audience))
    # As the kubelet has it where the containers of a pod run as several users.
    token.chmod(0o644)
    trust.write_text(trust_bundle(domain))
    return ["--token-file", str(token), "--trust-bundle", str(trust)]
