"""Image files to batches of pixels at the size of the network's input: crop boxes, decoding, squares kept on disk."""
