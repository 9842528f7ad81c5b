"""Labelling of many photographs: sources, the journal that survives a kill, engines, formats, the summary."""
