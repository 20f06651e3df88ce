// Work on many tensors in one launch.  `Table` holds, for up to TENSORS of them, their sizes, where
// their arrays lie, and each one's first block: a tensor has as many as its size asks for.

struct Table {
    unsigned long long size[TENSORS], array[COLUMNS][TENSORS];
    unsigned int first[TENSORS + 1];
};

// The tensor of this block; threads of its blocks share the elements from `at` on, every `all`.
struct Part {
    int tensor;
    Int at, all, size;

    __device__ Part(const Table& table)
    {
        int from = 0, to = TENSORS;  // table.first[from] <= the block < table.first[to]
        while (to - from > 1) {
            int middle = (from + to) / 2;
            if (table.first[middle] <= blockIdx.x) from = middle;
            else to = middle;
        }
        tensor = from, size = table.size[from];
        at = (Int)(blockIdx.x - table.first[from]) * THREADS + threadIdx.x;
        all = (Int)(table.first[from + 1] - table.first[from]) * THREADS;
    }

    __device__ T* column(const Table& table, int which) const
    {
        return (T*)table.array[which][tensor];
    }
};

// Arrays x, g, m, v and, with amsgrad, the largest v.  `step` is what m / (sqrt(v) + eps) is
// multiplied by, shrink = 1 - lr weight_decay for AdamW, w1 = 1 - beta1, w2 = 1 - beta2; the bias
// corrections are in step and eps.
__device__ inline void adam_element(
    T* x, T g, T* m, T* v, T* v_max, T w1, T beta2, T w2, T step, T eps, T shrink, T penalty)
{
    g += penalty * *x;
    *m += w1 * (g - *m);
    *v = beta2 * *v + w2 * g * g;
    T largest = *v;
    if (v_max) largest = *v_max = fmax(*v_max, *v);
    *x = *x * shrink - step * *m / (sqrt(largest) + eps);
}

KERNEL adam_step(
    Table table, T w1, T beta2, T w2, T step, T eps, T shrink, T penalty, int amsgrad,
    int maximize)
{
    Part part(table);
    T *x = part.column(table, 0), *g = part.column(table, 1);
    T *m = part.column(table, 2), *v = part.column(table, 3);
    T* v_max = amsgrad ? part.column(table, 4) : nullptr;
    for (Int i = part.at; i < part.size; i += part.all)
        adam_element(x + i, maximize ? -g[i] : g[i], m + i, v + i, v_max ? v_max + i : nullptr,
                     w1, beta2, w2, step, eps, shrink, penalty);
}

// The same with the number of the step in the GPU's memory, array 5: for captured graphs.
KERNEL adam_step_counted(
    Table table, T w1, T beta2, T w2, T lr, T eps, T shrink, T penalty, int amsgrad, int maximize)
{
    Part part(table);
    T *x = part.column(table, 0), *g = part.column(table, 1);
    T *m = part.column(table, 2), *v = part.column(table, 3);
    T* v_max = amsgrad ? part.column(table, 4) : nullptr;
    double t = *(const float*)table.array[5][part.tensor];
    T root = (T)sqrt(1 - pow(1 - (double)w2, t));
    T step = (T)(lr * root / (1 - pow(1 - (double)w1, t)));
    for (Int i = part.at; i < part.size; i += part.all)
        adam_element(x + i, maximize ? -g[i] : g[i], m + i, v + i, v_max ? v_max + i : nullptr,
                     w1, beta2, w2, step, eps * root, shrink, penalty);
}

// Arrays x, g and, with momentum, b.
KERNEL sgd_step(
    Table table, T lr, T momentum, T keep, T penalty, int buffered, int first, int nesterov,
    int maximize)
{
    Part part(table);
    T *x = part.column(table, 0), *g = part.column(table, 1), *b = part.column(table, 2);
    for (Int i = part.at; i < part.size; i += part.all) {
        T d = (maximize ? -g[i] : g[i]) + penalty * x[i];
        if (buffered) {
            b[i] = first ? d : momentum * b[i] + keep * d;
            d = nesterov ? d + momentum * b[i] : b[i];
        }
        x[i] -= lr * d;
    }
}

// partial[block] = the sum of squares of what the block has of array 0
KERNEL sum_squares(Table table, T* partial, Int first)
{
    Part part(table);
    const T* x = part.column(table, 0);
    T sum = 0;
    for (Int i = part.at; i < part.size; i += part.all) sum += x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[first + blockIdx.x] = sum;
}

// One block: the root of the sum of what the blocks have found.
KERNEL root_of_sum(const T* partial, T* y, Int n)
{
    T sum = 0;
    for (Int i = threadIdx.x; i < n; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *y = sqrt(sum);
}

// array 0 times min(1, most / (norm + 1e-6)), the norm being in the GPU's memory
KERNEL clip_all(Table table, const T* norm, T most)
{
    Part part(table);
    T *x = part.column(table, 0), factor = 1 / (*norm + (T)1e-6) * most;
    if (factor > 1) factor = 1;  // nan stays
    for (Int i = part.at; i < part.size; i += part.all) x[i] *= factor;
}

// array 0 plus a number
KERNEL add_all(Table table, T number)
{
    Part part(table);
    T* x = part.column(table, 0);
    for (Int i = part.at; i < part.size; i += part.all) x[i] += number;
}
