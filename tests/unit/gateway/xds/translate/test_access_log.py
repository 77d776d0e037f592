"""Access loggers: which there are, what they count and what they write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from federation.model.configuration import AccessLog
from federation.model.names import ClusterId
from gateway.ir.model import AppProtocol, CallPath, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.telemetry import FAMILIES, Telemetry
from gateway.xds import protos as pb
from gateway.xds.translate.access_log import (
    call_metadata,
    caller_log,
    gateway_log,
    listener_metadata,
    server_log,
    service_metadata,
)
from support.builders import ECHO

EAST = ClusterId("east")
QUIET = Telemetry(EAST)
PORT = ImportedPort(ECHO, 80, AppProtocol.HTTP, (), ())


def inbound(protocol: str) -> InboundPort:
    return InboundPort(ECHO, 80, AppProtocol(protocol), "10.0.0.1", 8080)


def loggers(telemetry: Telemetry) -> list[list[pb.Message]]:
    """Of every kind of listener."""
    return [
        caller_log(telemetry, http=True),
        caller_log(telemetry, http=True, port=PORT),
        caller_log(telemetry, http=False, port=PORT),
        server_log(telemetry, inbound("http")),
        server_log(telemetry, inbound("tcp")),
        gateway_log(telemetry),
    ]


def stats_of(logger: pb.Message) -> dict[str, dict[str, str]]:
    """The metrics of one stats logger, each with its labels and their formats."""
    config = config_of(logger)
    return {
        each["stat"]["name"]: {tag["name"]: tag["value_format"] for tag in each["stat"]["tags"]}
        for each in (*config["histograms"], *config["counters"])
    }


def config_of(logger: pb.Message) -> Any:
    return pb.json_format.MessageToDict(pb.unpack(logger.typed_config, pb.TypedStruct).value)


def test_every_metric_of_the_table_is_counted_by_somebody() -> None:
    """With the labels of the table, in their order."""
    found = {name: tuple(tags) for log in loggers(QUIET) for name, tags in stats_of(log[0]).items()}
    assert found == {family.name: family.labels for family in FAMILIES}


def test_every_logger_has_limits() -> None:
    """And one prefix, so that what two listeners count is one series."""
    scope = {"prefix": "federation", "max_counters": 20_000, "max_histograms": 10_000}
    assert all(config_of(log[0])["stats_scope"] == scope for log in loggers(QUIET))


def test_a_listener_of_one_port_names_it_and_one_of_all_asks_the_upstream() -> None:
    """A word costs less than a question, and there is a listener per service where calls are redirected."""
    (one,), (any_port,) = caller_log(QUIET, http=True, port=PORT), caller_log(QUIET, http=True)
    assert stats_of(one)["request_bytes_total"]["destination_service"] == "echo"
    asked = stats_of(any_port)["request_bytes_total"]["destination_service"]
    first, last = json.loads(asked.removeprefix("%COALESCE(").removesuffix(")%"))["operators"]
    assert first == {"command": "METADATA", "param": "CLUSTER:federation:name"}
    assert last == {"command": "METADATA", "param": "LISTENER:federation:none"}
    assert dict(listener_metadata().filter_metadata["federation"]) == {"none": "none"}


def test_sidecars_may_count_nothing() -> None:
    """The gateway still does."""
    quiet = Telemetry(EAST, sidecar_metrics=False)
    assert [len(log) for log in loggers(quiet)] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("mode", "filtered"), [("all", False), ("errors", True)])
def test_calls_are_logged_when_asked_for(mode: AccessLog, filtered: bool) -> None:
    """All of them, or those that failed; in no case what the application sent."""
    for log in loggers(Telemetry(EAST, mode)):
        (line,) = [each for each in log if each.name == "envoy.access_loggers.stdout"]
        assert line.HasField("filter") is filtered
        form = pb.unpack(line.typed_config, pb.StdoutAccessLog).log_format.json_format
        assert not any(word in str(form) for word in ("REQ(", "RESP(", "HEADER", "PATH(", "QUERY"))
    assert all(len(log) == 1 for log in loggers(QUIET))


def test_both_identities_are_in_the_lines_of_sidecars() -> None:
    """As they were verified, on either side."""
    for log in (caller_log(Telemetry(EAST, "all"), http=True), server_log(Telemetry(EAST, "all"), inbound("http"))):
        form = dict(pb.unpack(log[1].typed_config, pb.StdoutAccessLog).log_format.json_format)
        assert form["source_identity"].endswith("_URI_SAN%")
        assert form["destination_identity"].endswith("_URI_SAN%")


def test_metadata_say_where_a_call_goes() -> None:
    """The service of a cluster; cluster and path of an endpoint."""
    locality = UpstreamLocality(1, ClusterId("west"), "eu", "", (Upstream("10.0.0.1", 1),), path=CallPath.FAILOVER)
    assert dict(call_metadata(locality).filter_metadata["federation"]) == {"cluster": "west", "path": "failover"}
    said = service_metadata(PORT).filter_metadata["federation"]
    assert dict(said) == {"namespace": "demo", "name": "echo", "port": "80"}
