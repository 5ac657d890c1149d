"""Batches on their way to the device: the protocol, the host stand-in, and the one owner of CUDA."""
