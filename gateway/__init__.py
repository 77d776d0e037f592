"""What Envoy sees of the clusterset: the gateway's intermediate form, its translation, and the xDS server."""
