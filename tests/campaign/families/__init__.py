"""The families of the campaign, one module each; each module names its class `FAMILY`."""
