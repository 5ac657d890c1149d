"""Files → records: TensorRT's verbose logs, and its layer information in JSON."""
