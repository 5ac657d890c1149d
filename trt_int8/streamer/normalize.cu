/* uint8 images to float32 planes: (pixel * scale - mean[channel]) / std[channel], N C H W out.
 *
 * One thread a pixel, all its channels: neighbouring threads write neighbouring floats of each plane.
 * Compiled without fused multiply-add, so that every value equals numpy's in float32.
 */

struct Affine {
    float scale;
    float mean[4];
    float std[4];
};

extern "C" __global__ void normalize(const unsigned char *pixels, float *planes, unsigned long long count,
                                     unsigned long long plane, unsigned int channels, unsigned int interleaved,
                                     Affine affine)
{
    /* count: pixels of all images; plane: pixels of one image; interleaved: 1 for N H W C, 0 for N C H W */
    const unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const unsigned long long image = i / plane;
        const unsigned long long pixel = i % plane;
        for (unsigned int channel = 0; channel < channels; channel++) {
            const unsigned long long planar = (image * channels + channel) * plane + pixel;
            const float value = pixels[interleaved ? i * channels + channel : planar];
            planes[planar] = (value * affine.scale - affine.mean[channel]) / affine.std[channel];
        }
    }
}
