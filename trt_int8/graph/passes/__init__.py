"""Rewrites of a graph, one a module.

A pass is a function ``name(model, *, …)``. It changes the proto in place and returns whether the graph is
another one now; then every `GraphIndex` of it is out of date. Some take ``index``, the index of the model
as it comes, from callers that have one. `opset_conversion` alone returns a copy, since onnx's converter
makes one.
"""
