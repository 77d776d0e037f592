"""Identities and how they rotate: SPIFFE IDs, X.509-SVIDs, trust bundles, the cluster's own CA."""
