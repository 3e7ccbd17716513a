"""Augmentation of training crops: colour, masks, spectrum stitching."""
