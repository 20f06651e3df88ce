// CUDA's words for a C++ compiler: kernels.py puts this before a kernel's source.
//
// The threads of a block are fibers of one host thread.  Each runs up to __syncthreads(), where the
// next one takes over; when all have come there, all go on.  Blocks run one after the other.

#include <cmath>
#include <cstddef>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
using std::erf; using std::exp; using std::fmax; using std::log; using std::pow; using std::sqrt;
using std::tanh;

#define ON_HOST
static float half_to_float(unsigned short bits) { return *(const _Float16*)&bits; }
static unsigned short float_to_half(float number)
{
    _Float16 half = (_Float16)number;
    return *(unsigned short*)&half;
}

struct Dim { unsigned x, y, z; };
static Dim threadIdx, blockIdx, blockDim, gridDim;

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done;
};
static ucontext_t scheduler;
static Fiber* running;
static void (*body)(void**);
static void** arguments;
static const size_t STACK = 64 * 1024;

static void __syncthreads() { swapcontext(&running->context, &scheduler); }
template <class N> N atomicAdd(N* to, N number) { N old = *to; *to += number; return old; }

static void enter()
{
    body(arguments);
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

// Runs one block; false if some threads have ended where others wait for them.
static bool run_block(std::vector<Fiber>& fibers, bool backwards)
{
    unsigned count = fibers.size();
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        fiber.done = false;
        makecontext(&fiber.context, enter, 0);
    }
    for (unsigned ended = 0; ended < count;) {
        ended = 0;
        for (unsigned i = 0; i < count; i++) {
            threadIdx.x = backwards ? count - 1 - i : i;
            running = &fibers[threadIdx.x];
            swapcontext(&scheduler, &running->context);
            ended += running->done;
        }
        if (ended && ended < count) return false;
    }
    return true;
}

// 0, or 1 for a barrier that not all threads of a block reach.
static int run(const unsigned* grid, unsigned threads, int backwards, void (*kernel)(void**), void** a)
{
    std::vector<Fiber> fibers(threads);
    for (Fiber& fiber : fibers) fiber.stack.reset(new char[STACK]);
    body = kernel, arguments = a;
    gridDim = {grid[0], grid[1], 1}, blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < grid[1]; y++)
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            if (!run_block(fibers, backwards)) return 1;
        }
    return 0;
}
