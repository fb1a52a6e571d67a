/* The element-wise parts of a step, each one pass over memory, forward beside backward. Shapes: see step.c.

   Reductions are written so that the compiler may use vector registers; nothing else of IEEE arithmetic is given up,
   so a number that is none stays none and the trainer sees it. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PRAGMA(text) _Pragma(#text)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(x) PRAGMA(omp simd reduction(+:x))
#define SIMD_MAX(x) PRAGMA(omp simd reduction(max:x))
#define INLINE static inline __attribute__((always_inline))

/* e^x to two units of the last place: x = k ln 2 + r with |r| <= ln(2)/2, and e^r by the polynomial of Cephes' expf.
   Adding 1.5 * 2^23 leaves the nearest k in the low bits, where it is bounded as a whole number: that is cheaper than
   bounding x, and a number that is none stays none. 0 below -87.7, infinite above 88.4. */
#define ROUNDING 12582912.0f
#define ROUNDING_BITS 0x4b400000
INLINE float exponential(float x) {
    const float shifted = x * 1.44269504f + ROUNDING, k = shifted - ROUNDING;
    const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int bits;
    memcpy(&bits, &shifted, 4);
    bits = bits < ROUNDING_BITS - 127 ? ROUNDING_BITS - 127 : bits;
    bits = bits > ROUNDING_BITS + 128 ? ROUNDING_BITS + 128 : bits;
    bits = (bits << 23) + 0x3f800000; /* 2^k */
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

INLINE void add(float *to, const float *from, long n) {
    SIMD for (long j = 0; j < n; j++) to[j] += from[j];
}

/* y = gain * x / rms(x) over rows of d; inverse[i] = 1 / rms of row i. gain may be NULL. */
static void rms_forward(const float *x, const float *gain, float *y, float *inverse, long n, long d, float eps) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * d;
        float *b = y + i * d, s = 0;
        SIMD_SUM(s) for (long j = 0; j < d; j++) s += a[j] * a[j];
        const float r = inverse[i] = 1.0f / sqrtf(s / d + eps);
        if (gain) { SIMD for (long j = 0; j < d; j++) b[j] = a[j] * r * gain[j]; }
        else { SIMD for (long j = 0; j < d; j++) b[j] = a[j] * r; }
    }
}

/* dx += what flows back through rms_forward; d_gain += likewise; y, if given, is its result once more. */
static void rms_backward(const float *x, const float *gain, const float *inverse, const float *dy, float *dx,
                         float *d_gain, float *y, long n, long d) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * d, *e = dy + i * d, r = inverse[i];
        float *o = dx + i * d, s = 0;
        if (!gain) {
            SIMD_SUM(s) for (long j = 0; j < d; j++) s += e[j] * a[j];
            s *= r * r * r / d;
            SIMD for (long j = 0; j < d; j++) o[j] += e[j] * r - a[j] * s;
            continue;
        }
        SIMD_SUM(s) for (long j = 0; j < d; j++) { s += e[j] * gain[j] * a[j]; d_gain[j] += e[j] * a[j] * r; }
        s *= r * r * r / d;
        SIMD for (long j = 0; j < d; j++) o[j] += e[j] * gain[j] * r - a[j] * s;
        if (y) { float *b = y + i * d; SIMD for (long j = 0; j < d; j++) b[j] = a[j] * r * gain[j]; }
    }
}

/* y[n,F] = silu(x[:, :F]) * x[:, F:] */
static void gate_forward(const float *x, float *y, long n, long F) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * 2 * F, *b = a + F;
        float *o = y + i * F;
        /* Two loops, here and below: in one, GCC 12 does not vectorise, and it takes seven times as long. */
        SIMD for (long j = 0; j < F; j++) o[j] = 1.0f / (1.0f + exponential(-a[j]));
        SIMD for (long j = 0; j < F; j++) o[j] *= a[j] * b[j];
    }
}

/* dy becomes y, gate_forward's result once more. */
static void gate_backward(const float *x, float *dy, float *dx, long n, long F) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * 2 * F, *b = a + F;
        float *da = dx + i * 2 * F, *db = da + F, *e = dy + i * F;
        SIMD for (long j = 0; j < F; j++) db[j] = 1.0f / (1.0f + exponential(-a[j]));
        SIMD for (long j = 0; j < F; j++) {
            const float s = db[j], silu = a[j] * s, d = e[j];
            da[j] = d * b[j] * (s + silu * (1.0f - s));
            db[j] = d * silu;
            e[j] = silu * b[j];
        }
    }
}

/* Sum of nats of n targets; logits[n, V] become scale * d(sum of nats + z_loss * sum of squared log Z). */
static double cross_entropy(float *logits, const int *targets, long n, long V, float scale, float z_loss) {
    double nats = 0;
    for (long i = 0; i < n; i++) {
        float *a = logits + i * V, top = a[0], s = 0;
        const float wanted = a[targets[i]];
        SIMD_MAX(top) for (long j = 0; j < V; j++) top = a[j] > top ? a[j] : top;
        SIMD_SUM(s) for (long j = 0; j < V; j++) { const float x = exponential(a[j] - top); a[j] = x; s += x; }
        const float log_z = top + logf(s), share = scale * (1.0f + 2.0f * z_loss * log_z) / s;
        nats += log_z - wanted;
        SIMD for (long j = 0; j < V; j++) a[j] *= share;
        a[targets[i]] -= scale;
    }
    return nats;
}

/* Nats of each of n targets; logits[n, V] are used up. */
static void target_nats(float *logits, const int *targets, float *nats, long n, long V) {
    for (long i = 0; i < n; i++) {
        float *a = logits + i * V, top = a[0], s = 0;
        SIMD_MAX(top) for (long j = 0; j < V; j++) top = a[j] > top ? a[j] : top;
        SIMD_SUM(s) for (long j = 0; j < V; j++) s += exponential(a[j] - top);
        nats[i] = top + logf(s) - a[targets[i]];
    }
}

/* y = x rounded to bfloat16, to even; a number that is none stays none. */
static void shorten(const float *x, unsigned short *y, long n) {
    const unsigned *bits = (const unsigned *)x;
    SIMD for (long j = 0; j < n; j++) {
        const unsigned b = bits[j];
        y[j] = (unsigned short)((b & 0x7fffffffu) > 0x7f800000u ? (b >> 16) | 64 : (b + 0x7fffu + (b >> 16 & 1)) >> 16);
    }
}
