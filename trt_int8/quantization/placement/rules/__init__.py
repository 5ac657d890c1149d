"""The placement rules: every file here is loaded, and registers its rules with `rule`."""
