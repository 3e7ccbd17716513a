"""Training of the network: sources of versions, batches, losses, the loop. Not needed to use the network."""
