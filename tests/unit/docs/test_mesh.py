"""docs/mesh.md speaks of reasons, objects and settings as they are."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from controllers.mesh.istio_authorization import POLICY_NAME
from controllers.mesh.istio_mesh_config import check_trust, parse_mesh_config
from controllers.mesh.istio_service_entry import MAX_ENDPOINTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "mesh.md").read_text()


def test_every_reason_is_explained_and_none_is_made_up() -> None:
    """Those of the adapters, and of the plan by which their objects are written, word for word."""
    controllers = ROOT / "controllers"
    modules = [*(controllers / "mesh").glob("*.py"), controllers / "mcs" / "plan.py"]
    code = "".join(path.read_text() for path in modules)
    told = set(re.findall(r'Problem\((?:str\(\w+\)|[^()])*?"([A-Z]\w+)"', code)) - {"UnreadableConfig"}
    explained = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", PAGE)) - {"DestinationRule"}
    assert told == explained
    assert len(told) == 17


def test_the_mesh_configuration_of_the_page_lets_members_verify_each_other() -> None:
    """As it stands, for the two clusters that it names; only istiod's environment is outside of it."""
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "caCertificates" in text]
    config = parse_mesh_config({"data": {"mesh": yaml.safe_dump(yaml.safe_load(block))}})
    anchors = {"us-west.example": (b"a CA",)}
    assert check_trust(config, anchors, trust_domain="us-east.example", multiroot=True) == []


def test_names_and_limits_are_those_of_the_program() -> None:
    """The policy, and how many endpoints fit."""
    assert f"`{POLICY_NAME}`" in PAGE
    assert f"{MAX_ENDPOINTS:,} endpoints" in PAGE
