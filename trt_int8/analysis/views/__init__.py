"""A range analysis as text and as a page."""
