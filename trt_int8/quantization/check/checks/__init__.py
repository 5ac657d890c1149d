"""The checks of Q/DQ models: every file here is loaded, and registers its checks with `check`."""
