// One thread per element, again and again until all are done.

KERNEL relu_forward(const E* x, E* y, Int n)
{
    for (Int i = at(); i < n; i += all()) {
        T v = x[i];
        y[i] = v <= 0 ? (T)0 : v;
    }
}

KERNEL relu_backward(const E* g, const E* y, E* gx, Int n)
{
    for (Int i = at(); i < n; i += all()) gx[i] = (T)y[i] <= 0 ? (T)0 : (T)g[i];
}

// Block (i, j) adds up `share` rows of some columns, eight rows side by side.
template <class From, class To>
__device__ inline void sum_columns(const From* x, To* y, Int count, Int n, Int share)
{
    const int width = THREADS / 8;
    __shared__ T part[THREADS];
    Int column = (Int)blockIdx.x * width + threadIdx.x % width, first = blockIdx.y * share;
    Int stop = first + share < count ? first + share : count;
    T sum = 0;
    if (column < n)
        for (Int row = first + threadIdx.x / width; row < stop; row += 8) sum += x[row * n + column];
    part[threadIdx.x] = sum;
    for (int half = THREADS / 2; half >= width; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x < width && column < n) y[blockIdx.y * n + column] = part[threadIdx.x];
}

KERNEL add_rows(const E* x, E* y, Int count, Int n, Int share) { sum_columns(x, y, count, n, share); }

KERNEL add_rows_in_parts(const E* x, T* y, Int count, Int n, Int share)
{
    sum_columns(x, y, count, n, share);
}

KERNEL add_parts(const T* x, E* y, Int count, Int n, Int share) { sum_columns(x, y, count, n, share); }

// GELU: y = x p(x), exactly p = (1 + erf(x / sqrt(2))) / 2, or with tanh as in gelu.py.
__device__ inline T share(T x, int by_tanh)
{
    if (!by_tanh) return (T)0.5 * (1 + erf(x * (T)0.7071067811865476));
    return (T)0.5 * (1 + tanh((T)0.7978845608028654 * (x + (T)0.044715 * x * x * x)));
}

KERNEL gelu_forward(const E* x, E* y, Int n, int by_tanh)
{
    for (Int i = at(); i < n; i += all()) {
        T v = x[i];
        y[i] = v * share(v, by_tanh);
    }
}

// gx = g (p + x p')
KERNEL gelu_backward(const E* g, const E* x, E* gx, Int n, int by_tanh)
{
    for (Int i = at(); i < n; i += all()) {
        T v = x[i], p = share(v, by_tanh), slope;
        if (by_tanh)
            slope = 2 * p * (1 - p) * (T)0.7978845608028654 * (1 + (T)0.134145 * v * v);
        else
            slope = (T)0.3989422804014327 * exp((T)-0.5 * v * v);
        gx[i] = (T)g[i] * (p + v * slope);
    }
}

// Philox, as in philox.py: four words for each counter.
__device__ inline void philox(unsigned int c[4], unsigned long long seed)
{
    unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned long long a = (unsigned long long)c[0] * 0xD2511F53u;
        unsigned long long b = (unsigned long long)c[2] * 0xCD9E8D57u;
        unsigned int c0 = (unsigned int)(b >> 32) ^ c[1] ^ k0;
        unsigned int c2 = (unsigned int)(a >> 32) ^ c[3] ^ k1;
        c[0] = c0, c[1] = (unsigned int)b, c[2] = c2, c[3] = (unsigned int)a;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

__device__ inline void four_words(const unsigned long long* state, Int block, unsigned int c[4])
{
    c[0] = (unsigned int)block, c[1] = (unsigned int)((unsigned long long)block >> 32);
    c[2] = (unsigned int)state[1], c[3] = (unsigned int)(state[1] >> 32);
    philox(c, state[0]);
}

KERNEL random_words(const unsigned long long* state, unsigned int* words, Int n)
{
    for (Int block = at(); 4 * block < n; block += all()) {
        unsigned int c[4];
        four_words(state, block, c);
        for (int j = 0; j < 4 && 4 * block + j < n; j++) words[4 * block + j] = c[j];
    }
}

// Dropout in one pass: x times `scale` where the word's upper 24 bits, as a fraction, are below
// `keep`, else times 0.  The block that is through last goes on to the next draw: by then all have
// read the number of this one.  state[2] counts the blocks, and is 0 again.
KERNEL dropout_forward(
    unsigned long long* state, const E* x, E* y, bool* kept, Int n, float keep, T scale)
{
    for (Int block = at(); 4 * block < n; block += all()) {
        unsigned int c[4];
        four_words(state, block, c);
        for (int j = 0; j < 4 && 4 * block + j < n; j++) {
            Int i = 4 * block + j;
            kept[i] = (float)(c[j] >> 8) * 5.9604644775390625e-08f < keep;
            y[i] = (T)x[i] * (kept[i] ? scale : (T)0);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0 && atomicAdd(state + 2, 1ull) == gridDim.x - 1)
        state[1]++, state[2] = 0;
}

KERNEL dropout_again(const E* x, const bool* kept, E* y, Int n, T scale)
{
    for (Int i = at(); i < n; i += all()) y[i] = (T)x[i] * (kept[i] ? scale : (T)0);
}
