"""Forward passes: OpenVINO or TensorFlow, one interface."""
