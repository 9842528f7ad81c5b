"""Answers over HTTP, for many clients at once: `pbrec-hf serve`. Its modules need the extra `serve`."""
