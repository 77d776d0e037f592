"""Mesh adapters: the objects by which a local mesh that is not ours calls the federation, and is called by it."""
