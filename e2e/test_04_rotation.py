"""Story 4: keys and certificates are replaced under load."""

from __future__ import annotations

import json

from e2e.clusterset import ClusterSet, until


def signer(clusterset: ClusterSet, cluster: str) -> str:
    """The authority by which a cluster's certificates are signed."""
    report = json.loads(clusterset.federation(cluster, "trust", "show", "-o", "json"))
    own = next(domain for domain in report["domains"] if domain["own"])
    signing = [one["id"] for one in own["authorities"] if one["state"] == "signing"]
    return str(signing[0]) if signing else ""


def member_key(clusterset: ClusterSet, cluster: str) -> str:
    members = json.loads(clusterset.federation("east", "members", "-o", "json"))["members"]
    return next(str(one["memberKey"]) for one in members if one["cluster"] == cluster)


def test_a_new_ca_signs(clusterset: ClusterSet) -> None:
    """West's, which the caller verifies by: no handshake fails."""
    before = signer(clusterset, "west")
    with clusterset.calls() as calls:
        clusterset.federation("west", "rotate", "ca", "--now")
        until(lambda: signer(clusterset, "west") not in {"", before}, "the new CA to sign")
        seen = calls.total
        until(lambda: calls.total >= seen + 200, "200 calls after that")
    assert calls.failed == 0


def test_a_new_member_key_speaks(clusterset: ClusterSet) -> None:
    """The roster has it, and the others go on believing west."""
    before = member_key(clusterset, "west")
    with clusterset.calls() as calls:
        clusterset.federation("west", "rotate", "member-key")
        until(lambda: member_key(clusterset, "west") != before, "the new key in the roster")
        seen = calls.total
        until(lambda: calls.total >= seen + 200, "200 calls after that")
    assert calls.counts.keys() == {"west"}
