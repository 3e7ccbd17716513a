"""Audio to network input: decoding, constant-Q transform, views, playings."""
