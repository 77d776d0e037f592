"""Sidecars in pods: which pods get one, what it consists of, and how their connections come to it. All of it pure."""
