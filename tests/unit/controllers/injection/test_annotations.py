"""What a pod may say about its sidecar, and what becomes of nonsense. Each wrong value: tests/golden/injection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.injection.annotations import INJECT, KNOWN, Probe, Tuning, parse_tuning, pod_choice
from controllers.injection.redirect_rules import parse_networks

PREFIX = "federation-gateway.dev/"


def annotated(**values: object) -> dict[str, object]:
    return {"metadata": {"annotations": {f"{PREFIX}{key.replace('_', '-')}": value for key, value in values.items()}}}


def test_a_pod_that_says_nothing_gets_what_all_get() -> None:
    """No violations, nothing unknown; annotations of others are none of ours."""
    assert parse_tuning({"metadata": {"annotations": {"example.com/proxy-cpu": "?"}}}) == (Tuning(), (), ())
    assert parse_tuning({}) == (Tuning(), (), ())


def test_everything_that_may_be_said() -> None:
    """Lists are separated by commas, with spaces or without."""
    tuning, violations, unknown = parse_tuning(
        annotated(
            redirect="false",
            include_outbound_cidrs="10.96.0.0/12, fd00::/108",
            exclude_outbound_cidrs="10.96.0.1",
            exclude_outbound_ports="53,5432 ,",
            probe_port="8080",
            probe_path="/healthz",
            proxy_cpu="100m",
            proxy_memory_limit="1.5Gi",
            proxy_color="blue",
        )
    )
    assert tuning == Tuning(
        redirect=False,
        include=parse_networks(["10.96.0.0/12", "fd00::/108"], ""),
        exclude=parse_networks(["10.96.0.1/32"], ""),
        exclude_ports=(53, 5432),
        probe=Probe(8080, "/healthz"),
        resources=(("requests", "cpu", "100m"), ("limits", "memory", "1.5Gi")),
    )
    assert (violations, unknown) == ((), (f"{PREFIX}proxy-color",))


def test_an_empty_list_to_include_is_another_thing_than_none() -> None:
    """It takes back what the cluster limits the redirect to."""
    assert parse_tuning(annotated(include_outbound_cidrs=""))[0].include == ()
    assert parse_tuning({})[0].include is None


def test_the_label_counts_before_the_annotation() -> None:
    """A webhook can be called by labels only, so that they are what the API server went by."""
    assert pod_choice({"metadata": {"labels": {INJECT: "false"}, "annotations": {INJECT: "true"}}}) == "false"
    assert pod_choice({"metadata": {"annotations": {INJECT: "true"}}}) == "true"
    assert pod_choice({}) == ""


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), st.text() | st.none() | st.integers()))
def test_nothing_that_a_pod_says_raises(annotations: dict[str, object]) -> None:
    """Every violation names an annotation of ours."""
    _, violations, unknown = parse_tuning({"metadata": {"annotations": annotations}})
    assert all(violation.partition(":")[0] in KNOWN for violation in violations)
    assert unknown == ()
