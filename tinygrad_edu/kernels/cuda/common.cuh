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

// Half of the threads add the other half's numbers to theirs, then a quarter, and so on: every
// thread gets the sum, always added in the same order.
__device__ inline T block_sum(T x)
{
    __shared__ T part[THREADS];
    __syncthreads();  // the previous sum may still be read
    part[threadIdx.x] = x;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    __syncthreads();
    return part[0];
}

__device__ inline T block_max(T x)
{
    __shared__ T part[THREADS];
    __syncthreads();
    part[threadIdx.x] = x;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            part[threadIdx.x] = fmax(part[threadIdx.x], part[threadIdx.x + half]);
    }
    __syncthreads();
    return part[0];
}
