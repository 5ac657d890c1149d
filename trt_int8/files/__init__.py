"""Files of results: written whole or not at all, and checked before the work."""
