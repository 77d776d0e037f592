"""Measurements of whole processes: ratios side by side in one run, never an assertion of a time."""
