"""The parts of ``compare_commits.py``: checkouts, models with data, differences between results."""
