"""Where the cluster's own state comes from: a directory of manifests, or a Kubernetes API, behind one protocol."""
