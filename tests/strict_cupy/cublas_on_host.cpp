// The functions of cuBLAS that kernels/cuda/products.py and epilogues.py call, on the host and one number at a time.
// Matrices lie column by column: element (i, j) of x is x[i + j * ld].

#include <cstdint>
#include <cstring>

static float wide(const uint16_t* x, int kind)
{
    if (kind == 14) {  // bfloat16: the upper half of a float
        uint32_t bits = (uint32_t)*x << 16;
        float number;
        memcpy(&number, &bits, 4);
        return number;
    }
    return (float)*(const _Float16*)x;
}

static double read(const void* x, int kind, long long at, int compute)
{
    if (kind == 0) {
        float number = ((const float*)x)[at];
        uint32_t bits;
        memcpy(&bits, &number, 4);
        if (compute == 77) bits = (bits + 0x1000) & ~0x1fffu;  // TF32 keeps 10 bits
        memcpy(&number, &bits, 4);
        return number;
    }
    if (kind == 1) return ((const double*)x)[at];
    return wide((const uint16_t*)x + at, kind);
}

static void write(void* x, int kind, long long at, double number)
{
    float narrow = number;
    if (kind == 0) ((float*)x)[at] = number;
    if (kind == 1) ((double*)x)[at] = number;
    if (kind == 2) ((_Float16*)x)[at] = (_Float16)narrow;
    if (kind == 14) {
        uint32_t bits;
        memcpy(&bits, &narrow, 4);
        if (narrow == narrow) bits += 0x7fff + ((bits >> 16) & 1);  // to the nearest, ties to even
        ((uint16_t*)x)[at] = bits >> 16;
    }
}

extern "C" int cublasCreate_v2(void** handle) { *handle = handle; return 0; }
extern "C" int cublasSetStream_v2(void*, void*) { return 0; }
extern "C" int cublasSetWorkspace_v2(void*, void* place, size_t) { return (size_t)place % 16 ? 7 : 0; }

extern "C" int cublasGemmStridedBatchedEx(
    void*, int a_turned, int b_turned, int m, int n, int k, const void* factor, const void* a,
    int a_kind, int a_ld, long long a_step, const void* b, int b_kind, int b_ld, long long b_step, const void*,
    void* c, int c_kind, int c_ld, long long c_step, int count, int compute, int)
{
    bool fits = compute == (c_kind == 1 ? 70 : compute == 77 && c_kind == 0 ? 77 : 68);
    if (!fits || a_ld < (a_turned ? k : m) || b_ld < (b_turned ? n : k) || c_ld < m) return 7;
    for (int i = 0; i < count; i++)
        for (int row = 0; row < m; row++)
            for (int column = 0; column < n; column++) {
                double sum = 0;
                for (long long j = 0; j < k; j++) {
                    long long at = a_turned ? (long long)row * a_ld + j : j * a_ld + row;
                    long long bt = b_turned ? j * b_ld + column : (long long)column * b_ld + j;
                    sum += read(a, a_kind, i * a_step + at, compute)
                        * read(b, b_kind, i * b_step + bt, compute);
                }
                sum *= compute == 70 ? *(const double*)factor : *(const float*)factor;
                write(c, c_kind, i * c_step + row + (long long)column * c_ld, sum);
            }
    return 0;
}

extern "C" int cublasGemmEx(
    void* handle, int a_turned, int b_turned, int m, int n, int k, const void* factor, const void* a,
    int a_kind, int a_ld, const void* b, int b_kind, int b_ld, const void* zero, void* c, int c_kind,
    int c_ld, int compute, int algorithm)
{
    return cublasGemmStridedBatchedEx(
        handle, a_turned, b_turned, m, n, k, factor, a, a_kind, a_ld, 0, b, b_kind, b_ld, 0, zero, c,
        c_kind, c_ld, 0, 1, compute, algorithm);
}

// cuBLASLt: what a call is described by, and a product with an epilogue.

struct Call { int compute, turned[2], bias_kind; unsigned epilogue; void* bias; };
struct Layout { int kind; uint64_t rows, columns; int64_t step; };
struct Wish { uint64_t workspace; unsigned alignments[4]; };
struct Heuristic { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };
extern "C" int lt_refuses = 0;  // 1: no algorithm is found, 2: the product is not supported

extern "C" int cublasLtMatmulDescCreate(Call** call, int compute, int kind)
{
    if (kind != 0) return 7;
    *call = new Call{compute, {0, 0}, -1, 1, nullptr};
    return 0;
}
extern "C" int cublasLtMatmulDescDestroy(Call* call) { delete call; return 0; }
extern "C" int cublasLtMatmulDescSetAttribute(Call* call, int name, const void* value, size_t size)
{
    void* place = name == 3 ? &call->turned[0] : name == 4 ? &call->turned[1]
        : name == 7 ? (void*)&call->epilogue : name == 8 ? (void*)&call->bias
        : name == 26 ? &call->bias_kind : nullptr;
    if (!place || size != (name == 8 ? 8 : 4)) return 7;
    memcpy(place, value, size);
    return 0;
}
extern "C" int cublasLtMatrixLayoutCreate(
    Layout** layout, int kind, uint64_t rows, uint64_t columns, int64_t step)
{
    if (step < (int64_t)rows) return 7;
    *layout = new Layout{kind, rows, columns, step};
    return 0;
}
extern "C" int cublasLtMatrixLayoutDestroy(Layout* layout) { delete layout; return 0; }
extern "C" int cublasLtMatmulPreferenceCreate(Wish** wish)
{
    *wish = new Wish{0, {256, 256, 256, 256}};
    return 0;
}
extern "C" int cublasLtMatmulPreferenceDestroy(Wish* wish) { delete wish; return 0; }
extern "C" int cublasLtMatmulPreferenceSetAttribute(Wish* wish, int name, const void* value, size_t size)
{
    if (name == 1 && size == 8) memcpy(&wish->workspace, value, size);
    else if (name >= 5 && name <= 8 && size == 4) memcpy(&wish->alignments[name - 5], value, size);
    else return 7;
    return 0;
}

static bool fits(const Call* call, const Layout* a, const Layout* b, const Layout* d)
{
    uint64_t m = call->turned[0] ? a->columns : a->rows, k = call->turned[0] ? a->rows : a->columns;
    uint64_t n = call->turned[1] ? b->rows : b->columns, depth = call->turned[1] ? b->columns : b->rows;
    bool same = a->kind == b->kind && b->kind == d->kind && call->bias_kind == d->kind;
    bool sums = call->compute == 68 || (call->compute == 77 && a->kind == 0);
    return same && sums && k == depth && d->rows == m && d->columns == n && call->bias
        && (call->epilogue == 4 || call->epilogue == 512);
}

extern "C" int cublasLtMatmulAlgoGetHeuristic(
    void* handle, const Call* call, const Layout* a, const Layout* b, const Layout*, const Layout* d,
    const Wish* wish, int, Heuristic* found, int* count)
{
    *count = 0;
    if (!handle || !fits(call, a, b, d)) return 7;
    if (lt_refuses == 1) return 15;
    *found = Heuristic();
    for (int i = 0; i < 4; i++) found->algorithm[i] = wish->alignments[i];
    found->algorithm[4] = call->epilogue;
    *count = 1;
    return 0;
}

extern "C" int cublasLtMatmul(
    void* handle, const Call* call, const float* one, const void* a, const Layout* a_layout,
    const void* b, const Layout* b_layout, const float* zero, const void* c, const Layout*, void* d,
    const Layout* layout, const uint64_t* algorithm, void* workspace, size_t, void*)
{
    const void* places[4] = {a, b, c, d};
    if (!handle || !fits(call, a_layout, b_layout, layout) || algorithm[4] != call->epilogue) return 7;
    for (int i = 0; i < 4; i++)
        if ((size_t)places[i] % algorithm[i]) return 7;
    if (*one != 1 || *zero != 0 || (size_t)workspace % 16) return 7;
    if (lt_refuses == 2) return 15;
    int kind = layout->kind, k = call->turned[0] ? a_layout->rows : a_layout->columns;
    for (uint64_t column = 0; column < layout->columns; column++) {
        double of_second = 0;
        for (int j = 0; j < k; j++)
            of_second += read(b, kind, call->turned[1] ? j * b_layout->step + column
                                                       : column * b_layout->step + j, 68);
        if (call->epilogue == 512) write(call->bias, kind, column, of_second);
        for (uint64_t row = 0; row < layout->rows; row++) {
            double sum = call->epilogue == 4 ? read(call->bias, kind, row, 68) : 0;
            for (long long j = 0; j < k; j++) {
                long long at = call->turned[0] ? row * a_layout->step + j : j * a_layout->step + row;
                long long bt = call->turned[1] ? j * b_layout->step + column : column * b_layout->step + j;
                sum += read(a, kind, at, call->compute) * read(b, kind, bt, call->compute);
            }
            write(d, kind, row + column * layout->step, sum);
        }
    }
    return 0;
}
