"""The Kubernetes API as this program uses it: one client, behind which the official package stays."""
