"""Points, boxes, masks, the letterbox and proposals, each defined once. Works on tensors only."""
