"""Data: readers, builders, augmentation, and the collator that turns rows into batches."""
