"""Names that other parts of the program rely on."""

from __future__ import annotations

from pathlib import PurePosixPath

from controllers.injection.pod_patch import TOKEN_DIRECTORY, TRUST_CONFIG_MAP, TRUST_DIRECTORY, TRUST_KEY
from controllers.kube.gateway_addresses import HOST_PORT_ANNOTATION
from controllers.kube.token_review import GATEWAY_ACCOUNT
from federation.app.kube.shared_state import SECRET
from federation.app.pod_proxies import TOKEN_FILE, TRUST_FILE
from federation.install import vocabulary
from support.installation import HOST_PORTS, one, rendered


def test_names_are_those_that_the_program_looks_for() -> None:
    """What is installed is called as the code that reads or proves it says."""
    assert vocabulary.STATE == SECRET
    assert vocabulary.TRUST_BUNDLE == TRUST_CONFIG_MAP
    assert (vocabulary.TRUST_DIRECTORY, vocabulary.TOKEN_DIRECTORY) == (TRUST_DIRECTORY, TOKEN_DIRECTORY)
    assert PurePosixPath(TRUST_FILE) == PurePosixPath(vocabulary.TRUST_DIRECTORY, TRUST_KEY)
    assert PurePosixPath(TOKEN_FILE) == PurePosixPath(vocabulary.TOKEN_DIRECTORY, "token")
    assert vocabulary.GATEWAY == GATEWAY_ACCOUNT
    service = one(rendered(*HOST_PORTS), "Service", vocabulary.GATEWAY)
    assert service["metadata"]["annotations"].keys() == {HOST_PORT_ANNOTATION}
