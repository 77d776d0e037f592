"""A Kubernetes API server for tests, all state in memory. docs/stand-in-api.md says where it differs."""
