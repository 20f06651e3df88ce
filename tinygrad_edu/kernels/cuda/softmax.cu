// One block per row of n scores.  m is the row's largest score, s the sum of exp(x - m).

__device__ inline void largest_and_sum(const T* x, Int n, T* m, T* s)
{
    T most = -INFINITY;
    for (Int i = threadIdx.x; i < n; i += THREADS) most = fmax(most, x[i]);
    most = block_max(most);
    T sum = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) sum += exp(x[i] - most);
    *m = most;
    *s = block_sum(sum);
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

// loss = log(s) - (x[t] - m), exponentials = exp(x - m); for a class t that does not exist the loss
// is nan, and it is noted in *wrong
KERNEL cross_entropy_forward(
    const T* x, const Int* target, T* loss, T* exponentials, T* sums, Int n, int* wrong)
{
    x += blockIdx.x * n, exponentials += blockIdx.x * n;
    T m, s;
    largest_and_sum(x, n, &m, &s);
    for (Int i = threadIdx.x; i < n; i += THREADS) exponentials[i] = exp(x[i] - m);
    if (threadIdx.x == 0) {
        Int t = target[blockIdx.x];
        sums[blockIdx.x] = s;
        bool exists = 0 <= t && t < n;
        if (!exists) *wrong = 1;
        loss[blockIdx.x] = exists ? log(s) - (x[t] - m) : (T)NAN;
    }
}

// gx = g (exponentials / s - (i == t))
KERNEL cross_entropy_backward(
    const T* g, const Int* target, const T* exponentials, const T* sums, T* gx, Int n)
{
    exponentials += blockIdx.x * n, gx += blockIdx.x * n;
    T scale = g[blockIdx.x], sum = sums[blockIdx.x];
    Int t = target[blockIdx.x];
    for (Int i = threadIdx.x; i < n; i += THREADS)
        gx[i] = scale * (exponentials[i] / sum - (T)(i == t));
}
