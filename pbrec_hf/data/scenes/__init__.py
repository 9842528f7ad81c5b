"""Annotated photographs and composed scenes, and expressions that are true of exactly one of their objects."""
