/* Matrix products y = W x for any number of rows x, whose bits do not depend on that number.

   A weight matrix [outs, ins] lies in panels of 16 outputs: [panel][input][16], so that one register holds the same
   input's weight for 16 outputs, and an output is one chain of sums over the inputs in their order, however many rows
   and panels a tile works on. Kinds: F32; BF16, stored in half the memory, multiplied in fp32; I8, one byte a weight
   with one scale for GROUP inputs of an output, [panel][ins / 4][16][4]. Rows that meet bytes are rounded to 16 bits,
   with one scale for GROUP inputs, so that it is the weights whose rounding counts; they are multiplied as two bytes,
   256 * high + low. Integer sums are exact, so every instruction set gives the same ones. */

#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define LANES 16
#define UNROLL PRAGMA(GCC unroll 8) /* so that each sum has a register of its own */
#define SUMS 24
#define GROUP 64 /* inputs that share a scale */
enum Kind { F32, BF16, I8 };

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef struct { int outs, ins, kind; long panels, padded; void *data; float *scale; } Matrix;
/* Rows in 16 bits: of each group GROUP high bytes, then GROUP low ones, its scale, and what its sums begin with. */
typedef struct { int8_t *bytes; float *scale; int32_t *start; } Bytes;

#if defined(__AVX512F__)
#define BIG_TILES 1
#endif

INLINE v16 load16(const float *p) { v16 v; memcpy(&v, p, sizeof v); return v; }
INLINE void store16(float *p, v16 v) { memcpy(p, &v, sizeof v); }
INLINE v16 widened(const uint16_t *p) {
    typedef uint16_t u16 __attribute__((vector_size(32)));
    u16 half; memcpy(&half, p, sizeof half);
    const i16 bits = __builtin_convertvector(half, i16) << 16;
    return (v16)bits;
}

#define LARGEST 32512 /* 127 * 256 */

/* A row of inputs in 16 bits. Inputs beyond ins, up to whole groups, are 0. */
static void to_bytes(const float *x, long ins, long padded, int8_t *bytes, float *scale, int32_t *start) {
    for (long g = 0; g * GROUP < padded; g++) {
        const long first = g * GROUP, n = ins - first < GROUP ? ins - first : GROUP;
        float top = 0;
        SIMD_MAX(top) for (long j = 0; j < n; j++) { const float a = fabsf(x[first + j]); top = a > top ? a : top; }
        const float inverse = top > 0 ? LARGEST / top : 0;
        int32_t rounded[GROUP] = {0}, sum = 0;
        SIMD for (long j = 0; j < n; j++) rounded[j] = (int32_t)rintf(x[first + j] * inverse);
        SIMD_SUM(sum) for (long j = 0; j < GROUP; j++) sum += rounded[j];
        int8_t *high = bytes + 2 * first, *low = high + GROUP;
        SIMD for (long j = 0; j < GROUP; j++) low[j] = (int8_t)rounded[j];
        SIMD for (long j = 0; j < GROUP; j++) high[j] = (int8_t)((rounded[j] - low[j]) >> 8);
        scale[g] = top / LARGEST;
        start[g] = -128 * sum; /* weights lie in memory as w + 128 */
    }
    /* What is no number must stay none. */
    for (long j = 0; j < ins; j++) if (!(fabsf(x[j]) < INFINITY)) scale[0] = NAN;
}

/* sum += 4 weights of each of 16 outputs times the row's 4 bytes. Only VNNI multiplies what lies in memory, w + 128. */
#if defined(__AVX512VNNI__)
#define START(value) ((i16){0} + (value))
INLINE i16 dot4(i16 sum, const uint8_t *w, int32_t x4) {
    return (i16)_mm512_dpbusd_epi32((__m512i)sum, _mm512_loadu_si512(w), _mm512_set1_epi32(x4));
}
#elif defined(__AVX2__)
#define START(value) ((void)(value), (i16){0})
INLINE i16 dot4(i16 sum, const uint8_t *w, int32_t x4) {
    const __m256i x = _mm256_set1_epi32(x4), magnitude = _mm256_abs_epi8(x), flip = _mm256_set1_epi8((char)0x80);
    __m256i half[2];
    memcpy(half, &sum, sizeof half);
    for (int i = 0; i < 2; i++) {
        const __m256i signed_w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(w + 32 * i)), flip);
        /* a pair is at most 2 * 127 * 128 */
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(signed_w, x));
        half[i] = _mm256_add_epi32(half[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    memcpy(&sum, half, sizeof sum);
    return sum;
}
#else
#define START(value) ((void)(value), (i16){0})
INLINE i16 dot4(i16 sum, const uint8_t *w, int32_t x4) {
    int8_t x[4];
    memcpy(x, &x4, 4);
    for (int lane = 0; lane < LANES; lane++)
        for (int j = 0; j < 4; j++) sum[lane] += ((int)w[lane * 4 + j] - 128) * x[j];
    return sum;
}
#endif

/* rows x panels outputs of a float matrix; w: the first panel, x: the first row. */
INLINE void tile_float(const Matrix *m, long panel, const float *x, float *y, long stride, const int rows,
                       const int panels, const int half) {
    const long ins = m->ins;
    v16 sum[SUMS];
    for (int i = 0; i < SUMS; i++) sum[i] = (v16){0};
    for (long k = 0; k < ins; k++) {
        v16 w[8];
        UNROLL for (int p = 0; p < panels; p++) {
            const long at = ((panel + p) * ins + k) * LANES;
            w[p] = half ? widened((const uint16_t *)m->data + at) : load16((const float *)m->data + at);
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int p = 0; p < panels; p++) sum[r * panels + p] += x[r * ins + k] * w[p];
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < panels; p++) store16(y + r * stride + (panel + p) * LANES, sum[r * panels + p]);
}

/* sum += GROUP weights of 16 outputs times GROUP bytes, for every row and panel of a tile. */
INLINE void dot_group(i16 *sum, const uint8_t *w, long panel_bytes, const int8_t *x, long row_bytes, const int rows,
                      const int panels) {
    UNROLL for (int j = 0; j < GROUP / 4; j++)
        UNROLL for (int p = 0; p < panels; p++)
            UNROLL for (int r = 0; r < rows; r++) {
                int32_t x4;
                memcpy(&x4, x + r * row_bytes + j * 4, 4);
                sum[r * panels + p] = dot4(sum[r * panels + p], w + p * panel_bytes + j * 4 * LANES, x4);
            }
}

INLINE void tile_bytes(const Matrix *m, long panel, const Bytes *b, long row, float *y, long stride, const int rows,
                       const int panels) {
    const long padded = m->padded, groups = padded / GROUP;
    const int8_t *x = b->bytes + row * 2 * padded;
    const float *scale = b->scale + row * groups;
    const int32_t *start = b->start + row * groups;
    v16 total[SUMS / 2];
    for (int i = 0; i < SUMS / 2; i++) total[i] = (v16){0};
    for (long g = 0; g < groups; g++) {
        const uint8_t *w = (const uint8_t *)m->data + (panel * padded + g * GROUP) * LANES;
        i16 sum[SUMS / 2];
        for (int i = 0; i < SUMS / 2; i++) sum[i] = (i16){0};
        dot_group(sum, w, padded * LANES, x + 2 * g * GROUP, 2 * padded, rows, panels);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int p = 0; p < panels; p++)
                sum[r * panels + p] = (sum[r * panels + p] << 8) + START(start[r * groups + g]);
        dot_group(sum, w, padded * LANES, x + (2 * g + 1) * GROUP, 2 * padded, rows, panels);
        UNROLL for (int p = 0; p < panels; p++) {
            const v16 weight = load16(m->scale + ((panel + p) * groups + g) * LANES);
            UNROLL for (int r = 0; r < rows; r++) {
                const v16 whole_group = __builtin_convertvector(sum[r * panels + p], v16);
                total[r * panels + p] += whole_group * (weight * scale[r * groups + g]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < panels; p++) store16(y + r * stride + (panel + p) * LANES, total[r * panels + p]);
}

/* Tiles of known sizes, so that their sums stay in registers. Bytes need two sums an output: fewer of them at once. */
typedef void (*Tile)(const Matrix *, long, const float *, const Bytes *, long, float *, long);
#define TILE_NAMED(name, what) \
    static __attribute__((noinline)) void name(const Matrix *m, long panel, const float *x, const Bytes *b, long row, \
                                               float *y, long stride) { what; }
#define FLOATS(rows, panels, half) \
    (void)b; tile_float(m, panel, x + row * m->ins, y + row * stride, stride, rows, panels, half)
#define TILE_OF(rows, panels) \
    TILE_NAMED(f32_##rows##_##panels, FLOATS(rows, panels, 0)) \
    TILE_NAMED(bf16_##rows##_##panels, FLOATS(rows, panels, 1))
#define BYTES_OF(rows, panels) \
    TILE_NAMED(i8_##rows##_##panels, (void)x; tile_bytes(m, panel, b, row, y + row * stride, stride, rows, panels))
TILE_OF(1, 1) TILE_OF(2, 1) TILE_OF(3, 1) TILE_OF(4, 1) TILE_OF(1, 8)
BYTES_OF(1, 1) BYTES_OF(2, 1) BYTES_OF(3, 1) BYTES_OF(4, 1) BYTES_OF(1, 8)
#define FOUR(kind, panels) kind##_1_##panels, kind##_2_##panels, kind##_3_##panels, kind##_4_##panels
/* Rows in a tile, tiles by their rows; first those of several panels, then those of one. */
typedef struct { int most, panels; Tile of[9]; } Tiles;
#if BIG_TILES /* 32 registers of 16 floats */
TILE_OF(5, 1) TILE_OF(6, 1) TILE_OF(7, 1) TILE_OF(8, 1)
TILE_OF(1, 3) TILE_OF(2, 3) TILE_OF(3, 3) TILE_OF(4, 3) TILE_OF(5, 3) TILE_OF(6, 3) TILE_OF(7, 3) TILE_OF(8, 3)
BYTES_OF(1, 2) BYTES_OF(2, 2) BYTES_OF(3, 2) BYTES_OF(4, 2) BYTES_OF(5, 2) BYTES_OF(6, 2)
#define EIGHT(kind, panels) \
    FOUR(kind, panels), kind##_5_##panels, kind##_6_##panels, kind##_7_##panels, kind##_8_##panels
static const Tiles TILES[3][2] = {
    {{8, 3, {NULL, EIGHT(f32, 3)}}, {8, 1, {NULL, EIGHT(f32, 1)}}},
    {{8, 3, {NULL, EIGHT(bf16, 3)}}, {8, 1, {NULL, EIGHT(bf16, 1)}}},
    {{6, 2, {NULL, FOUR(i8, 2), i8_5_2, i8_6_2}}, {4, 1, {NULL, FOUR(i8, 1)}}}};
#else
#define SMALL(kind) {{4, 1, {NULL, FOUR(kind, 1)}}, {4, 1, {NULL, FOUR(kind, 1)}}}
static const Tiles TILES[3][2] = {SMALL(f32), SMALL(bf16), SMALL(i8)};
#endif
static const Tile SINGLE_TILES[3] = {f32_1_8, bf16_1_8, i8_1_8};

/* y[n, stride], panels first to last: W times rows x (floats) or b (bytes). */
static void product(const Matrix *m, const float *x, const Bytes *b, float *y, long stride, int n, long first,
                    long last) {
    long panel = first;
    if (n == 1) /* a single row waits for memory: many panels keep many loads under way */
        for (; panel + 8 <= last; panel += 8) SINGLE_TILES[m->kind](m, panel, x, b, 0, y, stride);
    for (int width = 0; width < 2; width++) {
        const Tiles *tiles = &TILES[m->kind][width];
        const int count = (n + tiles->most - 1) / tiles->most; /* of even size: 8 rows in tiles of 6 are 4 and 4 */
        for (; panel + tiles->panels <= last; panel += tiles->panels)
            for (int i = 0; i < count; i++) {
                const long row = (long)n * i / count;
                tiles->of[(long)n * (i + 1) / count - row](m, panel, x, b, row, y, stride);
            }
    }
}

/* Put output `out` of the matrix into its panel; values: ins floats. */
static void put_output(Matrix *m, long out, const float *values) {
    const long panel = out / LANES, lane = out % LANES, ins = m->ins;
    if (m->kind == F32) {
        float *to = (float *)m->data + panel * ins * LANES + lane;
        for (long k = 0; k < ins; k++) to[k * LANES] = values[k];
    } else if (m->kind == BF16) {
        uint16_t *to = (uint16_t *)m->data + panel * ins * LANES + lane;
        for (long k = 0; k < ins; k++) {
            uint32_t bits;
            memcpy(&bits, values + k, 4);
            /* to the nearest, ties to even; what is no number stays none */
            to[k * LANES] = values[k] != values[k] ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
    } else {
        uint8_t *to = (uint8_t *)m->data + panel * m->padded * LANES;
        float *scale = m->scale + panel * m->padded / GROUP * LANES + lane;
        for (long g = 0; g * GROUP < m->padded; g++) {
            float top = 0;
            for (long k = g * GROUP; k < ins && k < (g + 1) * GROUP; k++) top = fmaxf(top, fabsf(values[k]));
            scale[g * LANES] = top / 127.0f;
            for (long k = g * GROUP; k < (g + 1) * GROUP; k++) {
                const int b = k < ins && top > 0 ? (int)rintf(values[k] / top * 127.0f) : 0;
                to[(k / 4) * 4 * LANES + lane * 4 + k % 4] = (uint8_t)(b + 128);
            }
        }
    }
}
