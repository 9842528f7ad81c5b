"""The published data sets in the REFER format: fetched, read, checked, as `datasets`."""
