"""Models that leave ptm: graphs for ONNX Runtime, checked against the model that they come from."""

import os

# ONNX Runtime asks when it is imported: from 1.32 on it would keep a name of this machine in the home folder, and
# tell Microsoft what it is used for, with --offline too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
