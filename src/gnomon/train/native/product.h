/* C = A B and C += A B for the small matrices of attention, in vector registers.

   A BLAS call costs about as much as one such product. The compiler's vector extensions (GCC, clang) are lowered to
   whatever the processor has. A is read with any strides, so that the same code multiplies by a transposed A; B and C
   are rows of whole vectors. Every element of C is summed in the order of k: the result does not depend on the tiling. */

#if defined(__AVX512F__)
#define LANES 16
#define BY_ONE 16 /* rows of a tile that is one, two or four vectors wide: what 32 registers hold */
#define BY_TWO 8
#define BY_FOUR 4
#elif defined(__AVX__)
#define LANES 8
#define BY_ONE 8
#define BY_TWO 4
#define BY_FOUR 2
#else
#define LANES 4
#define BY_ONE 8
#define BY_TWO 4
#define BY_FOUR 2
#endif

typedef float vec __attribute__((vector_size(LANES * 4), may_alias));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias)); /* of any alignment */
typedef int whole __attribute__((vector_size(LANES * 4), may_alias));

#define UNROLL PRAGMA(GCC unroll 16)

/* One tile: c[R][W vectors] = (add ? c : 0) + sum over k of a[r * row + k * deep] b[k * ldb]. */
INLINE void tile(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long depth,
                 int add, const int R, const int W) {
    vec sum[16][4];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int w = 0; w < W; w++) sum[r][w] = add ? *(const loose *)(c + r * ldc + w * LANES) : (loose){0};
    for (long k = 0; k < depth; k++) {
        vec right[4];
        UNROLL for (int w = 0; w < W; w++) right[w] = *(const loose *)(b + k * ldb + w * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            const float x = a[r * row + k * deep];
            UNROLL for (int w = 0; w < W; w++) sum[r][w] += x * right[w];
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int w = 0; w < W; w++) *(loose *)(c + r * ldc + w * LANES) = sum[r][w];
}

/* A strip of C that is W vectors wide, R rows at a time. */
INLINE void strip(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long rows,
                  long depth, int add, const int R, const int W) {
    long i = 0;
    for (; i + R <= rows; i += R) tile(a + i * row, row, deep, b, ldb, c + i * ldc, ldc, depth, add, R, W);
    for (; i < rows; i++) tile(a + i * row, row, deep, b, ldb, c + i * ldc, ldc, depth, add, 1, W);
}

/* c[rows][columns] = (add ? c : 0) + a b; columns is a multiple of LANES. */
INLINE void product_of(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long rows,
                       long columns, long depth, int add) {
    long j = 0;
    for (; j + 4 * LANES <= columns; j += 4 * LANES)
        strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_FOUR, 4);
    for (; j + 2 * LANES <= columns; j += 2 * LANES)
        strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_TWO, 2);
    for (; j < columns; j += LANES) strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_ONE, 1);
}

/* Rows of A one after another: c = (add ? c : 0) + a b. */
static void product(const float *a, long lda, const float *b, long ldb, float *c, long ldc, long rows, long columns,
                    long depth, int add) {
    product_of(a, lda, 1, b, ldb, c, ldc, rows, columns, depth, add);
}

/* A transposed: c += a' b, where a is [depth][rows]. */
static void product_turned(const float *a, long lda, const float *b, long ldb, float *c, long ldc, long rows,
                           long columns, long depth) {
    product_of(a, 1, lda, b, ldb, c, ldc, rows, columns, depth, 1);
}

/* e^x of a vector whose numbers are at most 88, as exponential() of kernels.h; 0 below -87, and none stays none. */
INLINE vec exponential_of(vec x) {
    const vec shifted = x * 1.44269504f + ROUNDING, k = shifted - ROUNDING;
    const vec r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const vec power = (vec)(((whole)shifted << 23) + 0x3f800000);
    return (vec)((whole)(p * power) & ~(x <= -87.0f));
}

/* Number i of the result is number i ^ by of x. */
INLINE vec exchanged(vec x, const int by) {
    whole other;
    for (int i = 0; i < LANES; i++) other[i] = i ^ by;
#ifdef __clang__
    vec y;
    for (int i = 0; i < LANES; i++) y[i] = x[i ^ by];
    return y;
#else
    return __builtin_shuffle(x, other);
#endif
}

/* The sum of a vector's numbers. */
INLINE float total(vec x) {
    if (LANES > 8) x += exchanged(x, 8); /* no loop: the compiler must know the places */
    if (LANES > 4) x += exchanged(x, 4);
    x += exchanged(x, 2);
    x += exchanged(x, 1);
    return x[0];
}
