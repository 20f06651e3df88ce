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
__device__ inline void of_row(
    const E* g, const T* x, const T* weight, T average, T scale, T* gx, Int n, int center,
    int weighted)
{
    T sum = 0, inner = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T gz = weighted ? (T)g[i] * weight[i] : (T)g[i];
        sum += gz;
        inner += gz * (x[i] - average) * scale;
    }
    sum = center ? block_sum(sum) / n : (T)0;
    inner = block_sum(inner) / n;
    for (Int i = threadIdx.x; i < n; i += THREADS) {
        T gz = weighted ? (T)g[i] * weight[i] : (T)g[i];
        gx[i] = scale * (gz - sum - (x[i] - average) * scale * inner);
    }
}

// Sums over `share` rows of g z and of g, one thread per feature; both[part] gets them.
__device__ inline void of_features(
    const E* g, const T* x, const T* mean, const T* rstd, T* both, Int rows, Int n, Int share,
    Int part, Int parts, Int block, int center)
{
    Int i = block * THREADS + threadIdx.x;
    if (i >= n) return;
    T weight = 0, bias = 0;
    for (Int row = part * share; row < (part + 1) * share && row < rows; row++) {
        T average = center ? mean[row] : (T)0;
        weight += (T)g[row * n + i] * (x[row * n + i] - average) * rstd[row];
        bias += (T)g[row * n + i];
    }
    both[part * n + i] = weight;
    both[(parts + part) * n + i] = bias;
}

// The first `of_rows` blocks, one for each row or none, make gx.  Those behind them make the sums
// for weight and bias, THREADS features and `share` rows each.
KERNEL norm_backward(
    const E* g, const T* x, const T* weight, const T* mean, const T* rstd, T* gx, T* both,
    Int of_rows, Int rows, Int n, Int share, Int parts, int center, int weighted)
{
    Int row = blockIdx.x;
    if (row < of_rows) {
        T average = center ? mean[row] : (T)0;
        of_row(g + row * n, x + row * n, weight, average, rstd[row], gx + row * n, n, center,
               weighted);
    } else {
        Int block = row - of_rows;
        of_features(g, x, mean, rstd, both, rows, n, share, block % parts, parts, block / parts,
                    center);
    }
}

// Adds up the parts of both sums.
KERNEL norm_add_parts(const T* both, T* g_weight, T* g_bias, Int n, Int parts)
{
    for (Int i = at(); i < n; i += all()) {
        T weight = 0, bias = 0;
        for (Int part = 0; part < parts; part++) {
            weight += both[part * n + i];
            bias += both[(parts + part) * n + i];
        }
        g_weight[i] = weight, g_bias[i] = bias;
    }
}
