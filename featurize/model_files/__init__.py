"""Any model file as a backbone: ONNX, OpenVINO IR, TFLite; which files, which preprocessing, which output."""
