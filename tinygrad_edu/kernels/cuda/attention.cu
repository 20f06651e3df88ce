// The parts of attention between its matrix products, for a tile of scores s (rows, keys), one
// block per row.  The rows are `queries` queries of each head, the first of them number `start`;
// under `causal`, query i sees keys 0 to i.

__device__ inline Int seen(Int row, Int queries, Int keys, Int start, int causal)
{
    Int last = start + row % queries + 1;
    return causal && last < keys ? last : keys;
}

// s becomes the probabilities, exp(s - lse), 0 for hidden keys; lse = log sum exp(s), inf where
// no key is seen.  With dropout, dropped[] gets keep * probability / (1 - p).
KERNEL attention_softmax(
    T* s, const bool* keep, T* dropped, T* lse, Int queries, Int keys, Int start, int causal,
    int drops, T scale)
{
    Int row = blockIdx.x, n = seen(row, queries, keys, start, causal);
    s += row * keys, keep += drops ? row * keys : 0, dropped += drops ? row * keys : 0;
    T m = -INFINITY;
    for (Int i = threadIdx.x; i < n; i += THREADS) m = fmax(m, s[i]);
    m = block_max(m);
    if (m == -INFINITY) m = 0;  // every key is masked
    T sum = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) sum += exp(s[i] - m);
    sum = block_sum(sum);
    for (Int i = threadIdx.x; i < keys; i += THREADS) {
        T p = i < n && sum != 0 ? exp(s[i] - m) / sum : (T)0;
        s[i] = p;
        if (drops) dropped[i] = keep[i] ? p * scale : (T)0;
    }
    if (threadIdx.x == 0) lse[row] = sum == 0 ? (T)INFINITY : m + log(sum);
}

// From scores s, gradients gp of the probabilities and inner = sum(g y): with p = exp(s - lse),
// gp becomes p (gp - inner), the gradient of the scores, and s the probabilities that met v.
KERNEL attention_gradient(
    T* s, T* gp, const bool* keep, const T* lse, const T* inner, Int queries, Int keys, Int start,
    int causal, int drops, T scale)
{
    Int row = blockIdx.x, n = seen(row, queries, keys, start, causal);
    s += row * keys, gp += row * keys, keep += drops ? row * keys : 0;
    T shift = lse[row], mean = inner[row];
    for (Int i = threadIdx.x; i < keys; i += THREADS) {
        T p = i < n ? exp(s[i] - shift) : (T)0, factor = 1;
        if (drops) factor = keep[i] ? scale : (T)0;
        gp[i] = p * (gp[i] * factor - mean);
        s[i] = p * factor;
    }
}
