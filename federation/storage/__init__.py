"""Files as the other packages keep them: private, whole or not there at all, durable."""
