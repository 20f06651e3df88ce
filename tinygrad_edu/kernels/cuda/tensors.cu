// Work on many tensors in one launch: blockIdx.y says which tensor, the blocks of its row share its
// elements.  `Table` holds, for up to TENSORS tensors, their sizes and where their arrays lie.

struct Table {
    unsigned long long size[TENSORS], array[COLUMNS][TENSORS];
};

__device__ inline T* column(const Table& table, int which)
{
    return (T*)table.array[which][blockIdx.y];
}

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
    T *x = column(table, 0), *g = column(table, 1), *m = column(table, 2), *v = column(table, 3);
    T* v_max = amsgrad ? column(table, 4) : nullptr;
    for (Int i = at(); i < table.size[blockIdx.y]; i += all())
        adam_element(x + i, maximize ? -g[i] : g[i], m + i, v + i, v_max ? v_max + i : nullptr,
                     w1, beta2, w2, step, eps, shrink, penalty);
}

// The same with the number of the step in the GPU's memory, array 5: for captured graphs.
KERNEL adam_step_counted(
    Table table, T w1, T beta2, T w2, T lr, T eps, T shrink, T penalty, int amsgrad, int maximize)
{
    T *x = column(table, 0), *g = column(table, 1), *m = column(table, 2), *v = column(table, 3);
    T* v_max = amsgrad ? column(table, 4) : nullptr;
    double t = *(const float*)table.array[5][blockIdx.y];
    T root = (T)sqrt(1 - pow(1 - (double)w2, t));
    T step = (T)(lr * root / (1 - pow(1 - (double)w1, t)));
    for (Int i = at(); i < table.size[blockIdx.y]; i += all())
        adam_element(x + i, maximize ? -g[i] : g[i], m + i, v + i, v_max ? v_max + i : nullptr,
                     w1, beta2, w2, step, eps * root, shrink, penalty);
}

// Arrays x, g and, with momentum, b.
KERNEL sgd_step(
    Table table, T lr, T momentum, T keep, T penalty, int buffered, int first, int nesterov,
    int maximize)
{
    T *x = column(table, 0), *g = column(table, 1), *b = column(table, 2);
    for (Int i = at(); i < table.size[blockIdx.y]; i += all()) {
        T d = (maximize ? -g[i] : g[i]) + penalty * x[i];
        if (buffered) {
            b[i] = first ? d : momentum * b[i] + keep * d;
            d = nesterov ? d + momentum * b[i] : b[i];
        }
        x[i] -= lr * d;
    }
}

// partial[tensor][block] = the sum of squares of what the block has of array 0
KERNEL sum_squares(Table table, T* partial)
{
    const T* x = column(table, 0);
    T sum = 0;
    for (Int i = at(); i < table.size[blockIdx.y]; i += all()) sum += x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[(Int)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// array 0 times a number in the GPU's memory
KERNEL scale_all(Table table, const T* factor)
{
    T* x = column(table, 0);
    for (Int i = at(); i < table.size[blockIdx.y]; i += all()) x[i] *= *factor;
}

// array 0 plus a number
KERNEL add_all(Table table, T number)
{
    T* x = column(table, 0);
    for (Int i = at(); i < table.size[blockIdx.y]; i += all()) x[i] += number;
}
