"""The MCS API's objects of this cluster: from what the controller computed to the writes that make it so. Pure."""
