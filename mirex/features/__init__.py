"""Audio to what the network sees: decoding, constant-Q transform, views, playings."""
