"""Delta xDS: resources as wire bytes, the cache of views, one state machine per stream, the gRPC edge."""
