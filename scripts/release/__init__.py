"""What is handed on: the network in other formats, the bundle as the Model Zoo wants it."""
