"""Show a range analysis as text or as an HTML page."""
