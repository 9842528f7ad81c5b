"""Where things are: points, boxes, masks, the letterbox and proposals, each defined once. Tensors only."""
