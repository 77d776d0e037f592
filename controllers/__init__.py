"""The loops that keep one cluster in step: sources in, records and xDS out."""
