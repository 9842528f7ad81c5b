"""What `mkdocs build` needs of this repository beside `docs/`."""
