// What all kernels share.  T is float or double and THREADS the threads of a block, both defined
// before this file.  `at()` counts threads of the whole grid, `all()` how many there are.

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fc00000)
#endif
#define KERNEL extern "C" __global__ void
typedef long long Int;

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
