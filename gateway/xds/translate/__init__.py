"""From IR to Envoy resources: pure constructors; what an Envoy default would get wrong is spelled out."""
