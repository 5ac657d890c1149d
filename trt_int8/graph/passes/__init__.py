"""Rewrites of a graph, one per module.

A pass is a function ``name(model, *, …)``. It changes the proto in place and returns whether the graph
changed; if so, every `GraphIndex` of it is out of date. Callers that have an index of the unchanged model can
pass it as ``index``. Only `opset_conversion` returns a copy, because onnx's converter makes one.
"""
