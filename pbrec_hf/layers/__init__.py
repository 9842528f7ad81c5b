"""What networks of both stages share: frozen norms, residual blocks, how layers start."""
