"""Models that leave ptm: graphs for ONNX Runtime, checked against the model that they come from."""
