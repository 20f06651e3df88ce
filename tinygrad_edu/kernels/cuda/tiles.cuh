// Products of two tiles in a block's memory, made by its warps: of 16 rows each.
//
// A tile of features has WIDTH columns, a tile of weights has INNER.  TENSOR 1 multiplies 16 bits,
// TENSOR 2 floats rounded to TF32, by tensor cores; TENSOR 0 one number at a time.  A lane, number
// 4 i + j of its warp, has rows i and i + 8 of a product, and of each row every fourth column.
// Rows of tiles begin 16 bytes apart from their neighbours' banks, so that lanes do not meet there.

const int WARPS = THREADS / 32, ROWS = 16 * WARPS, EACH = 16 / sizeof(E);
const int FEATURES = WIDTH + EACH, WEIGHTS = INNER + EACH;  // from one row of a tile to the next

template <int N> struct Sums { T x[2][N / 4]; };

struct alignas(16) Pack { E x[EACH]; };

__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int row(int r) { return threadIdx.x / 32 * 16 + lane() / 4 + 8 * r; }

#if TENSOR
__device__ inline int inner(int i) { return i / 2 * 8 + lane() % 4 * 2 + i % 2; }
__device__ inline int feature(int i) { return inner(i); }
#else
__device__ inline int inner(int i) { return i * 4 + lane() % 4; }
__device__ inline int feature(int i) { return i / 4 * 16 + lane() % 4 * 4 + i % 4; }
#endif

// What a tile holds of a number.
__device__ inline E rounded(T number)
{
#if TENSOR == 2
    Bits bits;
    bits.number = number;
    if (number - number == 0) bits.bits = (bits.bits + 0x1000) & ~0x1fffu;  // finite
    return bits.number;
#else
    return number;
#endif
}

// Rows of a head into a tile: `count` of them, of which `left` exist; zeros beyond, and beyond `width`.
__device__ inline void fetch(E* tile, const E* from, Int step, int count, Int left, Int width)
{
    bool whole = ((size_t)from | (size_t)step * sizeof(E) | (size_t)width * sizeof(E)) % 16 == 0;
    for (int i = threadIdx.x; i < count * (WIDTH / EACH); i += THREADS) {
        int r = i / (WIDTH / EACH), c = i % (WIDTH / EACH) * EACH;
        const E* place = from + r * step + c;
        Pack pack;
        if (whole && r < left && c < width) {
            pack = *(const Pack*)place;
        } else {
            for (int j = 0; j < EACH; j++)
                pack.x[j] = r < left && c + j < width ? place[j] : E((T)0);
        }
        if (TENSOR == 2)
            for (int j = 0; j < EACH; j++) pack.x[j] = rounded(pack.x[j]);
        *(Pack*)(tile + r * FEATURES + c) = pack;
    }
}

// The sum and the largest number of the four lanes that share a row.
__device__ inline T row_sum(T x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ inline T row_max(T x)
{
    x = fmax(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmax(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

#if TENSOR
// A fragment: what a lane holds of a left factor (16 rows), a right factor (8 columns) or, as
// numbers, of their product (16 x 8).  DEPTH, 16 or 8, is what one instruction adds up.
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "m16n8k8".
const int DEPTH = TENSOR == 1 ? 16 : 8;
struct Left { unsigned int x[4]; };
struct Right { unsigned int x[2]; };

__device__ inline unsigned int word(const E* place) { return *(const unsigned int*)place; }

// Rows i and i + 8 of a tile.  TF32 takes column 2 j for j, 2 j + 1 for j + 4: the order in which
// products are added up is free, and must be that of the right factor.
__device__ inline Left left(const E* tile, int step)
{
    const E* place = tile + row(0) * step + lane() % 4 * 2;
    const int next = TENSOR == 1 ? 8 : 1;
    return {{word(place), word(place + 8 * step), word(place + next), word(place + 8 * step + next)}};
}

// Eight rows of a tile as columns.
__device__ inline Right turned(const E* tile)
{
    const E* place = tile + lane() / 4 * FEATURES + lane() % 4 * 2;
    return {{word(place), word(place + (TENSOR == 1 ? 8 : 1))}};
}

// Eight columns of a tile of features.
__device__ inline Right straight(const E* tile)
{
#if TENSOR == 2
    const E* place = tile + lane() % 4 * 2 * FEATURES + lane() / 4;
    return {{word(place), word(place + FEATURES)}};
#elif defined(ON_HOST)
    Right made;
    host_ldmatrix_trans(made.x, tile + lane() % 16 * FEATURES);
    return made;
#else
    Right made;
    unsigned int place = (unsigned int)__cvta_generic_to_shared(tile + lane() % 16 * FEATURES);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(made.x[0]), "=r"(made.x[1]) : "r"(place) : "memory");
    return made;
#endif
}

#if TENSOR == 2
#define KIND 0
#define MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#elif EXPONENT == 8
#define KIND 8
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#else
#define KIND 5
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#endif

// Columns 8 j to 8 j + 7 of the sums.
template <int N> __device__ inline void multiply_add(Sums<N>& sums, int j, Left a, Right b)
{
    float *c0 = &sums.x[0][2 * j], *c1 = &sums.x[1][2 * j];
#ifdef ON_HOST
    host_mma(c0, c1, a.x, b.x, KIND);
#else
    asm(MMA " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c0[0]), "+f"(c0[1]), "+f"(c1[0]), "+f"(c1[1])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
#endif
}

// sums += a bᵀ, two tiles of features
__device__ inline void add_scores(Sums<INNER>& sums, const E* a, const E* b)
{
#pragma unroll
    for (int k = 0; k < WIDTH; k += DEPTH) {
        Left rows = left(a + k, FEATURES);
#pragma unroll
        for (int j = 0; j < INNER / 8; j++)
            multiply_add(sums, j, rows, turned(b + 8 * j * FEATURES + k));
    }
}

// sums += w b, a tile of weights and one of features
__device__ inline void add_weighted(Sums<WIDTH>& sums, const E* w, const E* b)
{
#pragma unroll
    for (int k = 0; k < INNER; k += DEPTH) {
        Left rows = left(w + k, WEIGHTS);
#pragma unroll
        for (int j = 0; j < WIDTH / 8; j++)
            multiply_add(sums, j, rows, straight(b + k * FEATURES + 8 * j));
    }
}

#else
struct alignas(16) Four { T x[4]; };

__device__ inline Four four(const T* place) { return *(const Four*)place; }

__device__ inline void add_scores(Sums<INNER>& sums, const E* a, const E* b)
{
    a += row(0) * FEATURES, b += inner(0) * FEATURES;
#pragma unroll 4
    for (int k = 0; k < WIDTH; k += 4) {
        Four one = four(a + k), two = four(a + 8 * FEATURES + k);
#pragma unroll
        for (int i = 0; i < INNER / 4; i++) {
            Four other = four(b + 4 * i * FEATURES + k);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sums.x[0][i] += one.x[j] * other.x[j];
                sums.x[1][i] += two.x[j] * other.x[j];
            }
        }
    }
}

__device__ inline void add_weighted(Sums<WIDTH>& sums, const E* w, const E* b)
{
    w += row(0) * WEIGHTS, b += feature(0);
#pragma unroll 4
    for (int k = 0; k < INNER; k++) {
        T one = w[k], two = w[8 * WEIGHTS + k];
#pragma unroll
        for (int i = 0; i < WIDTH / 16; i++) {
            Four other = four(b + k * FEATURES + 16 * i);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sums.x[0][4 * i + j] += one * other.x[j];
                sums.x[1][4 * i + j] += two * other.x[j];
            }
        }
    }
}
#endif
