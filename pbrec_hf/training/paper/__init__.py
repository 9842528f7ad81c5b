"""The paper's experiments, each by one command: its tables, its trainings, and the same trends on a small network."""
