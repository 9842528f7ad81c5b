"""Evaluation sets as they lie on the Hub, pictures included: `load_hub_set("lmms-lab/RefCOCO", "testA")`."""
