"""The Redis in the cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from federation.install.exchange import CERTIFICATE_DIRECTORY, DATA_DIRECTORY, USERS_SCRIPT
from support.installation import one, rendered

NAME = "federation-exchange"
ADMIN = "user default off\nuser admin on #{} ~* &* +@all\n"
MEMBER = "user fg.acme.east on #aa ~fg:acme:{east}:* +get\n"


def workload(*words: str) -> Any:
    return one(rendered("exchange.inCluster=true", *words), "StatefulSet", NAME)["spec"]


def test_it_is_left_out_by_default() -> None:
    """A managed one is the default."""
    assert [found for found in rendered("clusterset=acme") if found["metadata"]["name"] == NAME] == []


def test_it_speaks_tls_alone_and_knows_nobody_by_default() -> None:
    """No port without TLS, a file of users, and the files of both where they are mounted."""
    pod = workload()["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert (options["--port"], options["--tls-port"], options["--tls-auth-clients"]) == ("0", "6379", "no")
    (certificate,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "certificate"]
    mounted = {f"{CERTIFICATE_DIRECTORY}/{item['path']}" for item in certificate["items"]}
    assert {options[f"--tls-{part}-file"] for part in ("cert", "key", "ca-cert")} <= mounted
    assert "admin.credentials" not in {item["key"] for item in certificate["items"]}
    assert options["--aclfile"].startswith(f"{DATA_DIRECTORY}/")


def test_its_users_may_be_kept_or_not() -> None:
    """In a volume that is claimed, or in one that begins empty with each pod."""
    (claim,) = workload("exchange.storageClassName=fast")["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    assert claim["spec"]["storageClassName"] == "fast"
    volumes = workload("exchange.storage=")["template"]["spec"]["volumes"]
    assert {volume["name"] for volume in volumes} == {"certificate", "data"}
    assert "volumeClaimTemplates" not in workload("exchange.storage=")


def run_script(certificates: Path, data: Path) -> str:
    script = USERS_SCRIPT.replace(CERTIFICATE_DIRECTORY, str(certificates)).replace(DATA_DIRECTORY, str(data))
    subprocess.run(["sh", "-c", script], check=True)
    assert sorted(path.name for path in data.iterdir()) == ["users.acl"]
    return (data / "users.acl").read_text()


def test_members_outlive_a_restart_and_the_administrator_is_the_secrets(tmp_path: Path) -> None:
    """The first start has the administrator alone; a later one keeps the members, and takes a new password."""
    certificates, data = tmp_path / "certificates", tmp_path / "data"
    certificates.mkdir()
    data.mkdir()
    (certificates / "users.acl").write_text(ADMIN.format("11"))
    assert run_script(certificates, data) == ADMIN.format("11")
    (data / "users.acl").write_text(ADMIN.format("11") + MEMBER)
    (certificates / "users.acl").write_text(ADMIN.format("22"))
    assert run_script(certificates, data) == ADMIN.format("22") + MEMBER
    assert (data / "users.acl").stat().st_mode & 0o777 == 0o600
