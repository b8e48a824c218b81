"""Models by name: the catalog, the hub's cache, downloads, and what weight files contain."""
