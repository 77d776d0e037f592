"""The `federation` command: commands parse, call and print; what they print is made elsewhere."""
