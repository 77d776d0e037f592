"""Clusters of kind (Kubernetes in docker) that make a clusterset: behind `federation kind`."""
