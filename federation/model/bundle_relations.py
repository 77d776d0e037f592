"""How the settings of the own bundle relate: where it comes from, where it is served, and what both need.

Pure, below ``settings``. It judges values whose fields are right by themselves, and reads nothing.
"""

from __future__ import annotations

from pathlib import Path

from federation.model.configuration import BundleEndpointSource, ClusterSettings


def bundle_relations(settings: ClusterSettings) -> list[str]:
    """Every violation among ``ca`` and ``bundleEndpoint``, as ``path: what is wrong``."""
    broken = []
    ca, served = settings.ca, settings.bundle_endpoint
    if ca.bundle_file is not None and ca.bundle_endpoint is not None:
        broken.append("ca: bundleFile and bundleEndpoint exclude each other; the own bundle has one source")
    match ca.bundle_endpoint:
        case (
            BundleEndpointSource(profile="https_spiffe", spiffe_id="")
            | BundleEndpointSource(profile="https_spiffe", bootstrap_file=None)
        ):
            broken.append("ca.bundleEndpoint: profile https_spiffe needs spiffeId and bootstrapFile")
        case BundleEndpointSource(profile="https_spiffe", ca_file=Path()):
            broken.append("ca.bundleEndpoint.caFile: has no meaning for profile https_spiffe")
        case BundleEndpointSource(profile="https_web", spiffe_id=spiffe_id, bootstrap_file=bootstrap) if (
            spiffe_id or bootstrap
        ):
            broken.append("ca.bundleEndpoint: spiffeId and bootstrapFile have no meaning for profile https_web")
    if served is not None:
        files = [path is not None for path in (served.certificate_file, served.key_file)]
        if any(files) != all(files):
            broken.append("bundleEndpoint: certificateFile and keyFile belong together")
        elif not any(files) and (ca.external or served.profile == "https_web"):
            broken.append(
                "bundleEndpoint: certificateFile and keyFile are required for profile https_web, "
                "and where the CA is elsewhere"
            )
        elif any(files) and served.profile == "https_spiffe" and not ca.external:
            broken.append(
                "bundleEndpoint: certificateFile and keyFile have no meaning beside the controller's own SVID"
            )
    return broken
