"""What the sidecars of a test's cluster have in common."""

from __future__ import annotations

from controllers.injection.pod_patch import Injection

INJECTION = Injection("image:1", "acme", "us-east", "us", "us-east.acme")
