"""Copy calibration batches to the GPU. Only this package uses CUDA."""
