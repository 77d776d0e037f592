"""HTTP faces of the controller: health and metrics for everybody on the network, status and requests for the owner."""
