"""The gateway: when it is installed, and how it is reached."""

from __future__ import annotations

from support.installation import HOST_PORTS, one, rendered

NAME = "federation-gateway"


def test_without_a_clusterset_there_is_none() -> None:
    """Its token must be for one clusterset, so that it waits for the name."""
    assert [found["kind"] for found in rendered() if found["metadata"]["name"] == NAME] == []


def test_its_token_is_for_its_clusterset() -> None:
    """The audience is the clusterset's, the file where the program looks."""
    pod = one(rendered("clusterset=acme"), "Deployment", NAME)["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "federation.acme"
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "token"]
    assert mount == {"name": "token", "mountPath": "/var/run/secrets/federation", "readOnly": True}


def test_what_only_a_load_balancer_has_is_left_out_elsewhere() -> None:
    """The API server refuses it on other types."""
    words = ("clusterset=acme", "gateway.service.loadBalancerClass=x", "gateway.service.nodePort=30443")
    words += ("gateway.service.loadBalancerSourceRanges=[192.0.2.0/24]",)
    balanced = one(rendered(*words), "Service", NAME)["spec"]
    assert (balanced["loadBalancerClass"], balanced["ports"][0]["nodePort"]) == ("x", 30443)
    on_nodes = one(rendered(*words, "gateway.service.type=NodePort"), "Service", NAME)["spec"]
    assert not {"loadBalancerClass", "loadBalancerSourceRanges"} & on_nodes.keys()
    assert on_nodes["ports"][0]["nodePort"] == 30443
    on_hosts = one(rendered(*words, "gateway.service.type=HostPort"), "Service", NAME)["spec"]
    assert on_hosts["type"] == "ClusterIP"
    assert "nodePort" not in on_hosts["ports"][0]
    assert "externalTrafficPolicy" not in on_hosts


def test_a_host_port_is_told_to_the_controllers() -> None:
    """By the annotation on the Service, and only one pod of a node can have it at a time."""
    documents = rendered(*HOST_PORTS, "gateway.service.hostPort=443")
    service = one(documents, "Service", NAME)
    assert service["metadata"]["annotations"] == {"federation-gateway.dev/host-port": "443"}
    (container,) = one(documents, "DaemonSet", NAME)["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [
        {"name": "mtls", "containerPort": 15443, "protocol": "TCP", "hostPort": 443},
        {"name": "http-metrics", "containerPort": 15020, "protocol": "TCP"},
    ]
    surge = one(rendered(*HOST_PORTS, "gateway.kind=Deployment"), "Deployment", NAME)["spec"]["strategy"]
    assert surge["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_it_ends_gracefully() -> None:
    """Nothing new comes any more when it is told to end, and the wait is within the pod's grace."""
    pod = one(rendered("clusterset=acme"), "Deployment", NAME)["spec"]["template"]["spec"]
    (word, seconds) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (word, int(seconds) < pod["terminationGracePeriodSeconds"]) == ("sleep", True)
