"""A cluster that is backed by Kubernetes: what its controllers share, who of them leads, and what they write there."""
