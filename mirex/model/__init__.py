"""The network, its sealed weights, and the embedding of a recording."""
