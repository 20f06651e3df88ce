// One block per row of n features: y = (x - mean) rstd weight + bias.  RMS norm has no mean.

KERNEL norm_forward(
    const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, Int n, T eps,
    int center, int weighted, int biased)
{
    x += blockIdx.x * n, y += blockIdx.x * n;
    T average = 0;
    if (center) {
        T sum = 0;
        for (Int i = threadIdx.x; i < n; i += THREADS) sum += x[i];
        average = block_sum(sum) / n;
    }
    T squares = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T z = x[i] - average;
        squares += z * z;
    }
    T scale = 1 / sqrt(block_sum(squares) / n + eps);
    if (center && scale == 0) scale /= scale;  // the variance is infinite: nan, see layer_norm.py
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T z = (x[i] - average) * scale;
        if (weighted) z *= weight[i];
        if (biased) z += bias[i];
        y[i] = z;
    }
    if (threadIdx.x == 0) {
        if (center) mean[blockIdx.x] = average;
        rstd[blockIdx.x] = scale;
    }
}

// gx = rstd (gz - average(gz) - z average(gz z)), gz = g weight, without average(gz) for RMS norm
KERNEL norm_backward(
    const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* gx, Int n,
    int center, int weighted)
{
    g += blockIdx.x * n, x += blockIdx.x * n, gx += blockIdx.x * n;
    T average = center ? mean[blockIdx.x] : (T)0, scale = rstd[blockIdx.x];
    T sum = 0, inner = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T gz = weighted ? g[i] * weight[i] : g[i];
        sum += gz;
        inner += gz * (x[i] - average) * scale;
    }
    sum = center ? block_sum(sum) / n : (T)0;
    inner = block_sum(inner) / n;
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T gz = weighted ? g[i] * weight[i] : g[i];
        gx[i] = scale * (gz - sum - (x[i] - average) * scale * inner);
    }
}

// Sums over the rows of g z and of g, one thread per feature; block row blockIdx.y adds up
// `share` rows, and what the block rows found is added up afterwards.
KERNEL norm_backward_weight(
    const T* g, const T* x, const T* mean, const T* rstd, T* g_weight, T* g_bias, Int rows, Int n,
    Int share, int center)
{
    Int first = blockIdx.y * share;
    for (Int i = at(); i < n; i += all()) {
        T weight = 0, bias = 0;
        for (Int row = first; row < first + share && row < rows; row++) {
            T average = center ? mean[row] : (T)0;
            weight += g[row * n + i] * (x[row * n + i] - average) * rstd[row];
            bias += g[row * n + i];
        }
        g_weight[blockIdx.y * n + i] = weight;
        g_bias[blockIdx.y * n + i] = bias;
    }
}
