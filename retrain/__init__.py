"""Makes versions; never serves."""
