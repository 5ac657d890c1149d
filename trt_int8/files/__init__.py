"""Read inputs with care. Write results completely or not at all, and check their paths before the work."""
