"""What the clusters of a clusterset say to one another, and the rules that merge it: values and pure functions."""
