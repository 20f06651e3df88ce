// Attention without the table of all scores.  A block has ROWS queries (or, for the gradients of
// keys and values, ROWS keys) and meets the others INNER at a time.  Rows are those of one head:
// blockIdx.x counts batch and heads, blockIdx.y the parts of a head.
//
// Scores are in units of log 2, since exp2 is an instruction: `scale` comes with log2(e) in it.
// Source: Dao, "FlashAttention-2", 2023, algorithms 1 and 2.

#define LOG2E ((T)1.4426950408889634)

// Where the rows of each head lie, a row's features side by side.
struct Heads { E* array; Int batch, head, row; };

// What is added to scores: nothing (kind 0), -inf where bools are false (1), numbers of T (2).
struct Mask { const void* array; Int batch, head, row, column, kind; };

// What all of a call shares.  `heads` of a batch; `keep`: dropout's decisions, or null.
struct Call {
    const bool* keep;
    Int queries, keys, width, values, heads, causal;
};

__device__ inline E* of_head(const Heads& x, Int heads)
{
    return x.array + blockIdx.x / heads * x.batch + blockIdx.x % heads * x.head;
}

// A score from a product; -inf for a key that the query does not see, or that does not exist.
__device__ inline T score(T product, const Call& call, const Mask& mask, Int query, Int key, T scale)
{
    if (query >= call.queries || key >= call.keys || (call.causal && key > query)) return -INFINITY;
    if (!mask.kind) return product * scale;
    Int at = blockIdx.x / call.heads * mask.batch + blockIdx.x % call.heads * mask.head
        + query * mask.row + key * mask.column;
    if (mask.kind == 2) return product * scale + LOG2E * ((const T*)mask.array)[at];
    return ((const bool*)mask.array)[at] ? product * scale : -INFINITY;
}

// What dropout multiplies a probability by.
__device__ inline T kept(const Call& call, Int query, Int key, T unit)
{
    if (!call.keep) return 1;
    if (query >= call.queries || key >= call.keys) return 0;
    return call.keep[(blockIdx.x * call.queries + query) * call.keys + key] ? unit : (T)0;
}

__device__ inline Int keys_seen(const Call& call, Int first)
{
    return call.causal && first + ROWS < call.keys ? first + ROWS : call.keys;
}

__device__ inline void write(const Heads& to, const Call& call, const Sums<WIDTH>& sums,
                             const T factor[2], Int first, Int rows, Int width)
{
    E* place = of_head(to, call.heads);
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (first + row(r) < rows)
#pragma unroll
            for (int i = 0; i < WIDTH / 4; i++)
                if (feature(i) < width)
                    place[(first + row(r)) * to.row + feature(i)] = sums.x[r][i] * factor[r];
}

// y and lse, the logarithm of each query's denominator: inf where no key is seen, and y = 0.
KERNEL flash_forward(
    Heads q, Heads k, Heads v, Heads y, Mask mask, Call call, T* lse, T scale, T unit)
{
    alignas(16) __shared__ E queries[ROWS * FEATURES], keys[INNER * FEATURES];
    alignas(16) __shared__ E values[INNER * FEATURES], weights[ROWS * WEIGHTS];
    Int first = (gridDim.y - 1 - blockIdx.y) * ROWS;  // the last queries first: they see most keys
    const E *q_head = of_head(q, call.heads), *k_head = of_head(k, call.heads);
    const E* v_head = of_head(v, call.heads);
    fetch(queries, q_head + first * q.row, q.row, ROWS, call.queries - first, call.width);
    Sums<WIDTH> sums = {};
    T most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    for (Int start = 0; start < keys_seen(call, first); start += INNER) {
        __syncthreads();  // the tiles before these have been used
        fetch(keys, k_head + start * k.row, k.row, INNER, call.keys - start, call.width);
        fetch(values, v_head + start * v.row, v.row, INNER, call.keys - start, call.values);
        __syncthreads();
        Sums<INNER> s = {};
        add_scores(s, queries, keys);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            Int query = first + row(r);
            T before = most[r];
#pragma unroll
            for (int i = 0; i < INNER / 4; i++) {
                s.x[r][i] = score(s.x[r][i], call, mask, query, start + inner(i), scale);
                most[r] = fmax(most[r], s.x[r][i]);
            }
            most[r] = row_max(most[r]);
            T shift = most[r] == -INFINITY ? (T)0 : most[r], shrink = exp2(before - shift);
            total[r] *= shrink;
#pragma unroll
            for (int i = 0; i < INNER / 4; i++) {
                T p = exp2(s.x[r][i] - shift);
                total[r] += p;
                p *= kept(call, query, start + inner(i), unit);
                weights[row(r) * WEIGHTS + inner(i)] = rounded(p);
            }
#pragma unroll
            for (int i = 0; i < WIDTH / 4; i++) sums.x[r][i] *= shrink;
        }
        __syncwarp();
        add_weighted(sums, weights, values);
    }
    T factor[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        T whole = row_sum(total[r]);
        factor[r] = whole == 0 ? (T)0 : 1 / whole;
        if (lane() % 4 == 0 && first + row(r) < call.queries)
            lse[blockIdx.x * call.queries + first + row(r)] =
                whole == 0 ? (T)INFINITY : (most[r] + log2(whole)) / LOG2E;
    }
    write(y, call, sums, factor, first, call.queries, call.values);
}

// gq = gs k scale with gs = p (gp - delta), gp = g vᵀ, p = exp(score - lse); delta = sum(g y) of
// each query is kept for the kernel below.
KERNEL flash_backward_queries(
    Heads g, Heads q, Heads k, Heads v, Heads y, Heads gq, Mask mask, Call call, const T* lse,
    T* delta, T scale, T unit)
{
    alignas(16) __shared__ E queries[ROWS * FEATURES], gradients[ROWS * FEATURES];
    alignas(16) __shared__ E keys[INNER * FEATURES], values[INNER * FEATURES];
    alignas(16) __shared__ E weights[ROWS * WEIGHTS];
    Int first = (gridDim.y - 1 - blockIdx.y) * ROWS;
    const E *q_head = of_head(q, call.heads), *k_head = of_head(k, call.heads);
    const E *g_head = of_head(g, call.heads), *v_head = of_head(v, call.heads);
    const E* y_head = of_head(y, call.heads);
    fetch(queries, q_head + first * q.row, q.row, ROWS, call.queries - first, call.width);
    fetch(gradients, g_head + first * g.row, g.row, ROWS, call.queries - first, call.values);
    T shift[2], mean[2], factor[2] = {scale / LOG2E, scale / LOG2E};
#pragma unroll
    for (int r = 0; r < 2; r++) {
        Int query = first + row(r), at = blockIdx.x * call.queries + query;
        bool exists = query < call.queries;
        T sum = 0;
        for (Int i = lane() % 4; exists && i < call.values; i += 4)
            sum += (T)g_head[query * g.row + i] * (T)y_head[query * y.row + i];
        mean[r] = row_sum(sum);
        shift[r] = exists ? lse[at] * LOG2E : (T)INFINITY;
        if (exists && lane() % 4 == 0) delta[at] = mean[r];
    }
    Sums<WIDTH> sums = {};
    for (Int start = 0; start < keys_seen(call, first); start += INNER) {
        __syncthreads();
        fetch(keys, k_head + start * k.row, k.row, INNER, call.keys - start, call.width);
        fetch(values, v_head + start * v.row, v.row, INNER, call.keys - start, call.values);
        __syncthreads();
        Sums<INNER> s = {}, gp = {};
        add_scores(s, queries, keys);
        add_scores(gp, gradients, values);
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int i = 0; i < INNER / 4; i++) {
                Int query = first + row(r), key = start + inner(i);
                T p = exp2(score(s.x[r][i], call, mask, query, key, scale) - shift[r]);
                T gs = p * (gp.x[r][i] * kept(call, query, key, unit) - mean[r]);
                weights[row(r) * WEIGHTS + inner(i)] = rounded(gs);
            }
        __syncwarp();
        add_weighted(sums, weights, keys);
    }
    write(gq, call, sums, factor, first, call.queries, call.width);
}

// gk = gsᵀ q scale and gv = pᵀ g.  Here the rows are keys, and the queries come in turn.
KERNEL flash_backward_keys(
    Heads g, Heads q, Heads k, Heads v, Heads gk, Heads gv, Mask mask, Call call, const T* lse,
    const T* delta, T scale, T unit)
{
    alignas(16) __shared__ E keys[ROWS * FEATURES], values[ROWS * FEATURES];
    alignas(16) __shared__ E queries[INNER * FEATURES], gradients[INNER * FEATURES];
    alignas(16) __shared__ E weights[ROWS * WEIGHTS];
    __shared__ T shift[INNER], mean[INNER];
    Int first = blockIdx.y * ROWS;  // the first keys are seen by most queries
    const E *q_head = of_head(q, call.heads), *k_head = of_head(k, call.heads);
    const E *g_head = of_head(g, call.heads), *v_head = of_head(v, call.heads);
    fetch(keys, k_head + first * k.row, k.row, ROWS, call.keys - first, call.width);
    fetch(values, v_head + first * v.row, v.row, ROWS, call.keys - first, call.values);
    Sums<WIDTH> to_keys = {}, to_values = {};
    for (Int start = call.causal ? first / INNER * INNER : 0; start < call.queries; start += INNER) {
        Int left = call.queries - start, at = blockIdx.x * call.queries + start;
        __syncthreads();
        fetch(queries, q_head + start * q.row, q.row, INNER, left, call.width);
        fetch(gradients, g_head + start * g.row, g.row, INNER, left, call.values);
        for (int i = threadIdx.x; i < INNER; i += THREADS) {
            shift[i] = i < left ? lse[at + i] * LOG2E : (T)INFINITY;
            mean[i] = i < left ? delta[at + i] : (T)0;
        }
        __syncthreads();
        Sums<INNER> s = {}, gp = {};
        add_scores(s, keys, queries);
        add_scores(gp, values, gradients);
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int i = 0; i < INNER / 4; i++) {
                Int key = first + row(r), query = start + inner(i);
                T p = exp2(score(s.x[r][i], call, mask, query, key, scale) - shift[inner(i)]);
                T factor = kept(call, query, key, unit);
                gp.x[r][i] = p * (gp.x[r][i] * factor - mean[inner(i)]);
                weights[row(r) * WEIGHTS + inner(i)] = rounded(p * factor);
            }
        __syncwarp();
        add_weighted(to_values, weights, gradients);
        __syncwarp();
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int i = 0; i < INNER / 4; i++)
                weights[row(r) * WEIGHTS + inner(i)] = rounded(gp.x[r][i]);
        __syncwarp();
        add_weighted(to_keys, weights, queries);
    }
    T one[2] = {1, 1}, factor[2] = {scale / LOG2E, scale / LOG2E};
    write(gk, call, to_keys, factor, first, call.keys, call.width);
    write(gv, call, to_values, one, first, call.keys, call.values);
}
