"""The Helm chart: the same templates in Helm's language, file by file. Pure.

The chart in ``deploy/chart`` is made from here, and a test holds the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from federation import __version__
from federation.install.definitions import definition_texts
from federation.install.helm import print_template
from federation.install.manifests import TEMPLATES
from federation.install.values import default_values_text, values_schema

NAME: Final = "federation-gateway"

_CHART: Final = f"""\
apiVersion: v2
name: {NAME}
description: Multi-cluster federation gateway for Kubernetes, on Envoy and Redis
type: application
version: {__version__}
appVersion: {__version__}
# Native sidecar containers, and PodDisruptionBudgets that let go of pods that are not ready.
kubeVersion: ">=1.29.0-0"
keywords: [multicluster, federation, envoy, mcs-api]
"""

_NOTES: Final = """\
{{- if not .Values.clusterset }}
No gateway was installed, since clusterset is not set: helm upgrade with --set clusterset=NAME.
{{- end }}
{{- if and (eq .Values.mesh "istio") (not .Values.ca.configMap) (not .Values.ca.secret) }}
Other members can't verify Istio's workloads yet: helm upgrade with --set ca.configMap=istio-ca-root-cert.
{{- end }}
Next, in the clusterset's first cluster:
  federation init --context CONTEXT -n {{ .Release.Namespace }} --clusterset NAME --cluster-id NAME --exchange URL
and in every other one, with a token of the first:
  federation join --context CONTEXT -n {{ .Release.Namespace }} --token-file FILE
The namespace should ask for restricted pod security:
  kubectl label namespace {{ .Release.Namespace }} pod-security.kubernetes.io/enforce=restricted
"""

_HEAD: Final = "{{/* Made from federation/install by the project's tests: edit it there. */}}\n"


def chart_files() -> Mapping[str, str]:
    """Every file of the chart by its path in the chart."""
    templates = {
        f"templates/{topic}.yaml": _HEAD + "".join(print_template(node) for node in nodes)
        for topic, nodes in TEMPLATES.items()
    }
    schema = json.dumps(values_schema(), indent=2, sort_keys=True) + "\n"
    definitions = {f"crds/{name}": text for name, text in definition_texts().items()}
    return {
        "Chart.yaml": _CHART,
        "values.yaml": default_values_text(),
        "values.schema.json": schema,
        "templates/NOTES.txt": _NOTES,
        **templates,
        **definitions,
    }
