"""What is put into a Kubernetes cluster to run there: one source, rendered as manifests and printed as a Helm chart."""
