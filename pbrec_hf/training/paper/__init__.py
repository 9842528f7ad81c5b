"""The paper's tables, each by one command: its numbers beside ours, with intervals, counts and what they are of."""
