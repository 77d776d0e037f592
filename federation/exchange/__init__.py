"""The exchange: signed records of the members, carried by Redis, which is trusted for availability only."""
