// The package's own CUDA source, compiled for the CPU: a launch is a loop over blocks and threads.

struct Index {
    unsigned x, y, z;
};
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#include "normalize.cu"

// The arguments as the driver lays them out: in order, each at its own alignment.
struct NormalizeArguments {
    const unsigned char *pixels;
    float *planes;
    unsigned long long count, plane;
    unsigned channels, interleaved;
    Affine affine;
};

extern "C" void run_normalize(const unsigned grid[3], const unsigned block[3], const void *arguments)
{
    const NormalizeArguments &a = *static_cast<const NormalizeArguments *>(arguments);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx = {0, 0, 0}; blockIdx.x < grid[0]; blockIdx.x++)
        for (threadIdx = {0, 0, 0}; threadIdx.x < block[0]; threadIdx.x++)
            normalize(a.pixels, a.planes, a.count, a.plane, a.channels, a.interleaved, a.affine);
}
