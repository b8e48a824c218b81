"""Models by name: the catalog, the hub's cache, downloads, and the headers of weight files."""
