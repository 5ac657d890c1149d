"""Write result files completely or not at all, and check their paths before the work."""
