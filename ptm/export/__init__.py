"""Models that leave ptm: graphs for ONNX Runtime, checked against the model that they come from."""

import os

# ONNX Runtime asks when it is imported: from 1.32 on it would keep an identifier of this machine in the user's home, and
# tell Microsoft what it is used for, with --offline too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
