// One block per row of n scores.  m is the row's largest score, s the sum of exp(x - m),
// found together (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).

__device__ inline void largest_and_sum(const T* x, Int n, T* m, T* s)
{
    T most = -INFINITY, sum = 0;  // of what this thread has met
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T v = x[i];
        if (v > most) sum = sum * exp(most - v) + 1, most = v;
        else sum += exp(v - (most == -INFINITY ? (T)0 : most));
    }
    *m = block_max(most);
    *s = block_sum(sum * exp(most - *m));
}

// y = exp(x - m) / s
KERNEL softmax_forward(const T* x, T* y, Int n)
{
    x += blockIdx.x * n, y += blockIdx.x * n;
    T m, s;
    largest_and_sum(x, n, &m, &s);
    for (Int i = threadIdx.x; i < n; i += THREADS) y[i] = exp(x[i] - m) / s;
}

// gx = y (g - sum(g y))
KERNEL softmax_backward(const T* g, const T* y, T* gx, Int n)
{
    g += blockIdx.x * n, y += blockIdx.x * n, gx += blockIdx.x * n;
    T inner = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) inner += g[i] * y[i];
    inner = block_sum(inner);
    for (Int i = threadIdx.x; i < n; i += THREADS) gx[i] = y[i] * (g[i] - inner);
}

// y = x - m - log(s)
KERNEL log_softmax_forward(const T* x, T* y, Int n)
{
    x += blockIdx.x * n, y += blockIdx.x * n;
    T m, s;
    largest_and_sum(x, n, &m, &s);
    T log_s = log(s);
    for (Int i = threadIdx.x; i < n; i += THREADS) y[i] = x[i] - m - log_s;
}

// gx = g - exp(y) sum(g)
KERNEL log_softmax_backward(const T* g, const T* y, T* gx, Int n)
{
    g += blockIdx.x * n, y += blockIdx.x * n, gx += blockIdx.x * n;
    T sum = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) sum += g[i];
    sum = block_sum(sum);
    for (Int i = threadIdx.x; i < n; i += THREADS) gx[i] = g[i] - exp(y[i]) * sum;
}

// share = the weight of the row's class, 1 without weights, 0 for class `ignored`;
// loss = share (log(s) - (x[t] - m)), 0 for `ignored`, exponentials = exp(x - m), sums = s.  For
// another class t that does not exist the loss is nan, and it is noted in *wrong.
KERNEL cross_entropy_forward(
    const T* x, const Int* target, const T* weight, T* loss, T* share, T* exponentials, T* sums,
    Int n, Int ignored, int weighted, int* wrong)
{
    x += blockIdx.x * n, exponentials += blockIdx.x * n;
    T m, s;
    largest_and_sum(x, n, &m, &s);
    for (Int i = threadIdx.x; i < n; i += THREADS) exponentials[i] = exp(x[i] - m);
    if (threadIdx.x == 0) {
        Int t = target[blockIdx.x];
        bool counts = t != ignored, exists = 0 <= t && t < n;
        if (counts && !exists) *wrong = 1;
        T count = !counts ? (T)0 : !exists ? (T)NAN : weighted ? weight[t] : (T)1;
        sums[blockIdx.x] = s, share[blockIdx.x] = count;
        loss[blockIdx.x] = !counts ? (T)0 : exists ? count * (log(s) - (x[t] - m)) : (T)NAN;
    }
}

// One block: y = sum(loss), or sum(loss) / sum(share) as a mean, when share becomes each row's part
// of it: nan where all of them count nothing.
KERNEL cross_entropy_total(const T* loss, T* share, T* y, Int rows, int mean)
{
    T total = 0, count = 0;
    for (Int i = threadIdx.x; i < rows; i += THREADS) total += loss[i], count += share[i];
    total = block_sum(total), count = block_sum(count);
    if (threadIdx.x == 0) *y = mean ? total / count : total;
    if (mean)
        for (Int i = threadIdx.x; i < rows; i += THREADS)
            share[i] = count == 0 ? (T)NAN : share[i] / count;
}

// gx = g share (exponentials / s - (i == t)), with 0 for g where the class is `ignored`; g has one element for each row
// or, `single`, one for all
KERNEL cross_entropy_backward(
    const T* g, const T* share, const Int* target, const T* exponentials, const T* sums, T* gx,
    Int n, Int ignored, int single)
{
    exponentials += blockIdx.x * n, gx += blockIdx.x * n;
    Int t = target[blockIdx.x];
    T scale = t == ignored ? (T)0 : g[single ? 0 : blockIdx.x] * share[blockIdx.x];
    T sum = sums[blockIdx.x];
    for (Int i = threadIdx.x; i < n; i += THREADS)
        gx[i] = scale * (exponentials[i] / sum - (T)(i == t));
}
