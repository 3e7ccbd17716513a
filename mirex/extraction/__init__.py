"""Recordings to cached embeddings, computed by worker processes."""
