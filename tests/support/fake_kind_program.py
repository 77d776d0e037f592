# ruff: noqa: PTH123
"""Fake docker, kind, kubectl and our own commands: what they answer, and what they do to clusters that are JSON.

Used by ``support.fake_kind``, in the test's process or as a script on PATH, so it stands alone and starts quickly. It
knows only the commands that `federation kind` may give, and is strict about them: an unknown one, or one that comes
before what it needs, fails.
"""

from __future__ import annotations

import fcntl
import json
import sys


def fail(text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def option(words, name):
    return words[words.index(name) + 1] if name in words else ""


def docker(state, words, stdin):
    match words:
        case ["version", *_]:
            if not state["engine"]:
                fail(
                    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
                )
            print(state["versions"]["docker"])
        case ["info", *_]:
            print(state["memory"])
        case ["build", "--tag", tag, *_]:
            state["images"][tag] = state["built"]
        case ["tag", old, new]:
            state["images"][new] = state["images"][old]
        case ["pull", image]:
            state["images"][image] = f"sha256:{image}"
        case ["image", "inspect", *_, image]:
            if image not in state["images"]:
                fail(f"No such image: {image}")
            print(state["images"][image])
        case ("exec", node, "crictl", *_):
            cluster = state["clusters"][node.split("-")[0]]
            print(json.dumps({"images": [loaded(state, one) for one in cluster["loaded"]]}))
        case _:
            fail(f"unknown command docker {words}")


def loaded(state, image):
    """An image on a node, whose id is docker's own, or another one where docker keeps images in containerd."""
    own = f"sha256:config of {image}" if state["containerd"] else state["images"][image]
    return {"id": own, "repoTags": [f"images.example/library/{image}"]}


def federation(state, command, stdin):
    """A command of ours, in the cluster of its kubeconfig: what it needs is looked for, and what it does is kept."""
    name = option(command, "--context").removeprefix("kind-")
    with open(option(command, "--kubeconfig")) as kubeconfig:
        if kubeconfig.read() != name:
            fail("the kubeconfig is of another cluster")
    cluster = state["clusters"][name]
    if command[0] in {"init", "token", "join"}:
        if not cluster["installed"]:
            fail("nothing is installed")
        if state["leaderless"] > 0:
            state["leaderless"] -= 1
            print("error: no controller leads", file=sys.stderr)
            sys.exit(3)
    match command:
        case ["install", *_]:
            with open(option(command, "-f")) as values:
                cluster["values"] = values.read()
            cluster["installed"] = True
        case ["init", *_]:
            if not cluster["exchange"]:
                fail("the exchange can't be reached")
            for name in ("--exchange-ca", "--exchange-admin"):
                with open(option(command, name)) as file:
                    cluster[name] = file.read()
            cluster["init"], cluster["member"] = command, True
        case ["token", "create", *_]:
            if not (cluster["member"] and cluster["controllers"]):
                fail("the authority is not here")
            state["tokens"].append(option(command, "--cluster"))
            print(f"token of {option(command, '--cluster')}, number {len(state['tokens'])}")
        case ["join", *_]:
            if stdin != f"token of {name}, number {len(state['tokens'])}" and not stdin.startswith(f"token of {name},"):
                fail("the token is for another cluster")
            cluster["member"] = True
        case ["dns", "install", *_]:
            cluster["corefile"] = state["forwarding"]
        case _:
            fail(f"unknown command of ours: {command}")


def kind(state, words, stdin):
    name = option(words, "--name")
    match words:
        case ["version"]:
            print(f"kind {state['versions']['kind']} go1.24.0 linux/amd64")
        case ["get", "clusters"]:
            print("\n".join(sorted(state["clusters"])) or "No kind clusters found.", file=sys.stdout)
        case ["create", "cluster", *_]:
            if name in state["clusters"]:
                fail(f"node(s) already exist for a cluster with the name {name!r}")
            state["clusters"][name] = fresh(state["nodes"][name])
        case ["get", "kubeconfig", *_]:
            print(name, end="")
        case ["export", "kubeconfig", *_]:
            state["exported"].append(name)
        case ["load", "docker-image", image, *_]:
            state["clusters"][name]["loaded"].append(image)
        case ["delete", "cluster", *_]:
            state["clusters"].pop(name, None)
        case _:
            fail(f"unknown command kind {words}")


def fresh(nodes):
    bare = {"installed": False, "exchange": False, "controllers": False, "gateways": False, "member": False}
    return {
        **bare,
        "nodes": nodes,
        "ours": True,
        "loaded": [],
        "digest": "",
        "corefile": "",
        "sample": "",
        "pods": False,
    }


def kubectl(state, words, stdin):
    if words[0] == "version":
        print(json.dumps({"clientVersion": {"gitVersion": state["versions"]["kubectl"]}}))
        return
    if words[0] != "--kubeconfig":
        fail("a kubeconfig of the run's own is needed")
    with open(words[1]) as file:
        name = file.read()
    cluster = state["clusters"].get(name)
    if cluster is None or state["silent"] == name:
        fail("The connection to the server 127.0.0.1:40000 was refused")
    match words[2:]:
        case ["get", "nodes", *_]:
            print(json.dumps({"items": [node(name, index, cluster) for index in range(cluster["nodes"])]}))
        case ["wait", *_]:
            pass
        case ["get", "namespace", *_]:
            if not cluster["installed"]:
                fail("NotFound")
            print(json.dumps({"metadata": {"annotations": {"federation-gateway.dev/kind-values": cluster["digest"]}}}))
        case ["annotate", *_, note]:
            cluster["digest"] = note.partition("=")[2]
        case ["rollout", "status", workload, *rest]:
            rollout(cluster, workload, rest)
        case ["get", "secret", "federation-exchange", *_]:
            # The words "ca" and "admin".
            print(json.dumps({"data": {"ca.pem": "Y2E=", "admin.credentials": "YWRtaW4="}}))
        case ["get", "secret", "federation-state", *_]:
            print(json.dumps({"data": {"state__roster": "e30="} if cluster["member"] else {"member.key": "eA=="}}))
        case ["get", "deployments", "--namespace", "federation-system", *_]:
            shown = [("federation-controller", cluster["controllers"]), ("federation-gateway", cluster["gateways"])]
            print(json.dumps({"items": [deployment(*one) for one in shown if cluster["installed"]]}))
        case ["get", "deployments", "--namespace", "demo", *_]:
            wanted = json.loads(cluster["sample"] or '{"items": []}')["items"]
            named = [one["metadata"]["name"] for one in wanted if one["kind"] == "Deployment"]
            print(json.dumps({"items": [deployment(one, cluster["pods"]) for one in named]}))
        case ["get", "configmap", "coredns", *_]:
            print(json.dumps({"data": {"Corefile": cluster["corefile"]}}))
        case ["get", "service", "federation-dns", *_]:
            print(json.dumps({"spec": {"clusterIP": "10.96.0.20"}}))
        case ["diff", *_]:
            if stdin != cluster["sample"]:
                fail("it differs")
        case ["apply", *_]:
            cluster["sample"] = stdin
        case ["exec", *_]:
            if state["deaf"] > 0:
                state["deaf"] -= 1
                fail("urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>")
            print(json.dumps({"cluster": "west", "pod": "echo-1"}))
        case _:
            fail(f"unknown command kubectl {words}")


def rollout(cluster, workload, rest):
    key = {
        "statefulset/federation-exchange": "exchange",
        "deployment/federation-controller": "controllers",
        "deployment/federation-gateway": "gateways",
    }.get(workload, "pods")
    if "--watch=false" in rest:
        print("statefulset rolling update complete" if cluster[key] else "Waiting for 1 pods to be ready...")
        return
    if key in {"controllers", "gateways"} and not cluster["member"]:
        fail("timed out waiting for the condition")
    cluster[key] = True


def node(name, index, cluster):
    labels = {"federation-gateway.dev/kind": "clusterset"} if cluster["ours"] and not index else {}
    suffix = "control-plane" if not index else f"worker{index if index > 1 else ''}"
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": f"{name}-{suffix}", "labels": labels}, "status": ready}


def deployment(name, ready):
    count = 2 if ready else 0
    status = {"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": count, "availableReplicas": count}
    return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": 2}, "status": status}


def answer(state, program, words, stdin):
    """What one of the programs does with a command line; prints, and exits where it fails."""
    line = " ".join([program, *words])
    for broken in state["broken"]:
        if broken in line:
            fail(f"boom: {broken}")
    {"docker": docker, "kind": kind, "kubectl": kubectl, "federation": federation}[program](state, words, stdin)


def main(here, program, *words):
    """As a process, with the state in a file that one at a time may have."""
    stdin = sys.stdin.read()
    with open(f"{here}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(f"{here}/state.json") as file:
            state = json.load(file)
        with open(f"{here}/log.jsonl", "a") as log:
            log.write(json.dumps([[program, *words], stdin]) + "\n")
        try:
            answer(state, program, words, stdin)
        finally:
            with open(f"{here}/state.json", "w") as file:
                json.dump(state, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
