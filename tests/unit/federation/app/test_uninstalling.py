"""What an uninstallation removes of what controllers made; the rest is in tests/feature/test_install.py."""

from __future__ import annotations

from controllers.mcs.objects import MANAGED_BY
from federation.app.uninstalling import MADE
from federation.install.access import CLUSTER_RULES, MESH_RULES


def test_all_that_controllers_make_is_looked_for() -> None:
    """Every kind that is marked as ours, in every group in which the controllers may write it, or once may have."""
    assert {kind for kind, _ in MADE} == MANAGED_BY.keys()
    groups = {version.partition("/")[0] if "/" in version else "" for _, versions in MADE for version in versions}
    rules = (*CLUSTER_RULES, *(rule for rules in MESH_RULES.values() for rule in rules))
    written = {rule.group for rule in rules if "delete" in rule.verbs and not rule.names}
    assert groups == written | {"policy.linkerd.io"}
