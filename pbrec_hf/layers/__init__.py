"""Layers that networks of both stages share: frozen norms, residual blocks, convolutions, initialisation."""
