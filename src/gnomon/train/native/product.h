/* C = A B and C += A B for the small matrices of attention, in vector registers.

   A BLAS call costs about as much as one such product. The compiler's vector extensions (GCC, clang) are lowered to
   whatever the processor has. A is read with any strides, so that the same code multiplies by a transposed A; B and C are
   rows of whole vectors. Every element of C is summed in the order of k, so the result does not depend on the tiling. */

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

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias)); /* of any alignment */
typedef int mask __attribute__((vector_size(LANES * 4)));

#define UNROLL PRAGMA(GCC unroll 16)

/* One tile: c[R][W vectors] = (add ? c : 0) + sum over k of a[r * row + k * deep] b[k * ldb]. */
INLINE void tile(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long depth, int add, const int R, const int W) {
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
INLINE void strip(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long rows, long depth, int add, const int R, const int W) {
    long i = 0;
    for (; i + R <= rows; i += R) tile(a + i * row, row, deep, b, ldb, c + i * ldc, ldc, depth, add, R, W);
    for (; i < rows; i++) tile(a + i * row, row, deep, b, ldb, c + i * ldc, ldc, depth, add, 1, W);
}

/* c[rows][columns] = (add ? c : 0) + a b; columns is a multiple of LANES. */
INLINE void product_of(const float *a, long row, long deep, const float *b, long ldb, float *c, long ldc, long rows, long columns, long depth, int add) {
    long j = 0;
    for (; j + 4 * LANES <= columns; j += 4 * LANES) strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_FOUR, 4);
    for (; j + 2 * LANES <= columns; j += 2 * LANES) strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_TWO, 2);
    for (; j < columns; j += LANES) strip(a, row, deep, b + j, ldb, c + j, ldc, rows, depth, add, BY_ONE, 1);
}

/* Rows of A one after another: c = a b. */
static void product(const float *a, long lda, const float *b, long ldb, float *c, long ldc, long rows, long columns, long depth) {
    product_of(a, lda, 1, b, ldb, c, ldc, rows, columns, depth, 0);
}

/* A transposed: c += a' b, where a is [depth][rows]. */
static void product_turned(const float *a, long lda, const float *b, long ldb, float *c, long ldc, long rows, long columns, long depth) {
    product_of(a, 1, lda, b, ldb, c, ldc, rows, columns, depth, 1);
}
