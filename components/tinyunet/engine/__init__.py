"""The engine that serves a model: ONNX, without TensorFlow."""
