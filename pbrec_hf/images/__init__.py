"""Pictures: reading them from anywhere, and masks as run lengths and polygons."""
