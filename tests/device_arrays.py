"""Stand-ins for arrays in GPU memory, which numpy cannot read."""


class OnDevice:
    """An array in CUDA memory, as cupy and torch show it."""

    def __init__(self, shape, typestr="<f4"):
        self.shape = shape
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "data": (0, False), "version": 3}
