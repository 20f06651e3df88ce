// The functions of cuBLAS that kernels/cuda/products.py calls, on the host and one number at a time.
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
