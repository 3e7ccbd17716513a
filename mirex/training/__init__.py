"""Training of the network: sources of versions, batches, losses, the loop. Not needed to run the product."""
