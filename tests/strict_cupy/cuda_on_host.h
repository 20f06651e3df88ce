// CUDA's words for a C++ compiler: kernels.py puts this before a kernel's source.
//
// The threads of a block are fibers of one host thread.  Each runs up to __syncthreads(), where the
// next one takes over; when all have come there, all go on.  Blocks run one after the other.

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
using std::erf; using std::exp; using std::exp2; using std::fmax; using std::log; using std::log2;
using std::pow; using std::sqrt; using std::tanh;

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

static void __syncwarp() { __syncthreads(); }

// What the lanes of a warp hand to each other.  All threads of a block must come to each exchange;
// two places are used in turn, so that no thread overwrites what another has yet to read.
struct Handed { unsigned char bytes[32]; };
static Handed handed[2][1024];
static int turn[1024];

template <class N> const Handed* exchange(const N& mine)
{
    static_assert(sizeof(N) <= sizeof(Handed), "");
    Handed* all = handed[turn[threadIdx.x] ^= 1];
    memcpy(all[threadIdx.x].bytes, &mine, sizeof(N));
    __syncthreads();
    return all + threadIdx.x / 32 * 32;
}

template <class N> N __shfl_xor_sync(unsigned, N mine, int other)
{
    unsigned lane = threadIdx.x % 32;
    N theirs;
    memcpy(&theirs, exchange(mine)[lane ^ other].bytes, sizeof(N));
    return theirs;
}

// Number `at` of what a register of a lane holds: half of 16 bits each, or (kind 0) one of TF32.
static float number_in(const Handed& lane, int which, int half, int kind)
{
    unsigned word;
    memcpy(&word, lane.bytes + 4 * which, 4);
    unsigned short part = half ? word >> 16 : word;
    if (kind == 5) return half_to_float(part);
    unsigned wide = kind == 8 ? (unsigned)part << 16 : word & ~0x1fffu;
    float number;
    memcpy(&number, &wide, 4);
    return number;
}

// mma.sync.m16n8k16 (16 bits) or m16n8k8 (TF32): c += a b.  Which lane holds what is written in the
// PTX ISA: with group = lane / 4 and place = lane % 4, of c the columns 2 place and 2 place + 1 of
// rows group (c0) and group + 8 (c1).
static void host_mma(float* c0, float* c1, const unsigned* a, const unsigned* b, int kind)
{
    unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const Handed* lanes = exchange(mine);
    auto left = [&](int row, int k) {  // a[row][k]
        int lane = row % 8 * 4 + (kind ? k % 8 / 2 : k % 4), far = kind ? k / 8 : k / 4;
        return number_in(lanes[lane], row / 8 + 2 * far, kind ? k % 2 : 0, kind);
    };
    auto right = [&](int k, int column) {  // b[k][column]
        int lane = column * 4 + (kind ? k % 8 / 2 : k % 4), far = kind ? k / 8 : k / 4;
        return number_in(lanes[lane], 4 + far, kind ? k % 2 : 0, kind);
    };
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < (kind ? 16 : 8); k++) {
            c0[i] += left(lane / 4, k) * right(k, lane % 4 * 2 + i);
            c1[i] += left(lane / 4 + 8, k) * right(k, lane % 4 * 2 + i);
        }
}

// ldmatrix.x2.trans: lanes 0 to 15 name the rows of two 8 x 8 matrices of 16 bits; each lane gets
// rows 2 place and 2 place + 1 of column `group` of both.
static void host_ldmatrix_trans(unsigned* to, const void* row)
{
    const Handed* lanes = exchange(row);
    int lane = threadIdx.x % 32;
    for (int matrix = 0; matrix < 2; matrix++) {
        unsigned short part[2];
        for (int i = 0; i < 2; i++) {
            const unsigned short* place;
            memcpy(&place, lanes[8 * matrix + lane % 4 * 2 + i].bytes, sizeof place);
            part[i] = place[lane / 4];
        }
        to[matrix] = part[0] | (unsigned)part[1] << 16;
    }
}

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
