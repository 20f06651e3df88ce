// The gradient of a table of `width` columns from which row rows[i] was read at place i.

// With atomic additions, in no fixed order: one block per place.
KERNEL embedding_add(const T* g, const Int* rows, T* table, Int width, Int height)
{
    Int row = rows[blockIdx.x];
    if (row < 0 || row >= height) return;
    for (Int i = threadIdx.x; i < width; i += THREADS)
        atomicAdd(table + row * width + i, g[blockIdx.x * width + i]);
}

// In the order of places, the same each time: `rows` sorted, order[i] where rows[i] stood before.
// The block of the first of equal rows adds up all of them.
KERNEL embedding_sum(
    const T* g, const Int* rows, const Int* order, T* table, Int count, Int width, Int height)
{
    Int first = blockIdx.x, row = rows[first];
    if (row < 0 || row >= height || (first > 0 && rows[first - 1] == row)) return;
    for (Int i = threadIdx.x; i < width; i += THREADS) {
        T sum = 0;
        for (Int place = first; place < count && rows[place] == row; place++)
            sum += g[order[place] * width + i];
        table[row * width + i] = sum;
    }
}

// y[i] = table[rows[i]]; a row that does not exist is nan, and noted in *wrong
KERNEL embedding_read(
    const T* table, const Int* rows, T* y, Int width, Int height, int* wrong)
{
    Int row = rows[blockIdx.x];
    bool exists = 0 <= row && row < height;
    if (!exists && threadIdx.x == 0) *wrong = 1;
    for (Int i = threadIdx.x; i < width; i += THREADS)
        y[blockIdx.x * width + i] = exists ? table[row * width + i] : (T)NAN;
}

// Notes in *wrong that one of n indices lies outside [low, high).
KERNEL check_range(const Int* index, Int n, Int low, Int high, int* wrong)
{
    for (Int i = at(); i < n; i += all())
        if (index[i] < low || index[i] >= high) *wrong = 1;
}
