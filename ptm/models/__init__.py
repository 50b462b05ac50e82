"""What models of any kind share: weights from files, adapters, layers, the hub."""
