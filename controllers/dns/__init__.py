"""DNS of the clusterset: the zone that follows from the projection, the answers from it, and the server."""
