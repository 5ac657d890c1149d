"""From a trained ONNX model and calibration data to a verified INT8 TensorRT engine."""
