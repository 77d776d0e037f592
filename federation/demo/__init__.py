"""The demo: three clusters on loopback, real calls under steady load, and faults on purpose.

A face over the product like the CLI: it starts the commands that a user would start, as processes of their own, and
judges only what a caller and those commands can see. Nothing of it is imported by any other package but the CLI.
"""
