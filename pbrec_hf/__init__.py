"""pbrec_hf: point-based referring expression comprehension (PBREC-MT) as a Hugging Face-style package."""

from .version import __version__

__all__ = ["__version__"]
