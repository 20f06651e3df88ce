// What all kernels share.  T, float or double, is what they compute in, and THREADS the threads of
// a block, both defined before this file.  E is what arrays hold: T, or 16 bits of which EXPONENT
// are the exponent's.  `at()` counts threads of the whole grid, `all()` how many there are.

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fc00000)
#endif
#define KERNEL extern "C" __global__ void
typedef long long Int;

union Bits { float number; unsigned int bits; };

#ifdef EXPONENT
struct E {
    unsigned short bits;

    E() = default;

    __device__ operator float() const
    {
#if EXPONENT == 8  // bfloat16 is the upper half of a float
        Bits wide;
        wide.bits = (unsigned int)bits << 16;
        return wide.number;
#elif defined(ON_HOST)
        return half_to_float(bits);
#else
        float wide;
        asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
        return wide;
#endif
    }

    __device__ E(float number)
    {
#if EXPONENT == 8
        Bits wide;
        wide.number = number;
        if (number == number) wide.bits += 0x7fff + ((wide.bits >> 16) & 1);  // ties to even
        bits = wide.bits >> 16;
#elif defined(ON_HOST)
        bits = float_to_half(number);
#else
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
#endif
    }
};
#else
typedef T E;
#endif

__device__ inline Int at() { return (Int)blockIdx.x * THREADS + threadIdx.x; }
__device__ inline Int all() { return (Int)gridDim.x * THREADS; }

// Lanes exchange numbers over ever smaller distances, then warps by way of `part`: every thread gets
// the sum, always added in the same order.
__device__ inline T block_sum(T x)
{
    __shared__ T part[(THREADS + 31) / 32];
    for (int far = 16; far > 0; far /= 2) x += __shfl_xor_sync(0xffffffffu, x, far);
    __syncthreads();  // the previous sum may still be read
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T sum = part[0];
    for (int warp = 1; warp < THREADS / 32; warp++) sum += part[warp];
    return sum;
}

__device__ inline T block_max(T x)
{
    __shared__ T part[(THREADS + 31) / 32];
    for (int far = 16; far > 0; far /= 2) x = fmax(x, __shfl_xor_sync(0xffffffffu, x, far));
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T most = part[0];
    for (int warp = 1; warp < THREADS / 32; warp++) most = fmax(most, part[warp]);
    return most;
}
