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

/* e^x to a few units of the last place: x = k ln 2 + r with |r| <= ln(2)/2, then e^r by its Taylor series to r^7. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : (x > 87.0f ? 87.0f : x);
    const float k = floorf(x * 1.44269504f + 0.5f);
    const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int bits = ((int)k + 127) << 23;
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

/* dx += what flows back through rms_forward; d_gain += likewise. */
static void rms_backward(const float *x, const float *gain, const float *inverse, const float *dy, float *dx, float *d_gain, long n, long d) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * d, *e = dy + i * d, r = inverse[i];
        float *o = dx + i * d, s = 0;
        if (gain) {
            SIMD_SUM(s) for (long j = 0; j < d; j++) { s += e[j] * gain[j] * a[j]; d_gain[j] += e[j] * a[j] * r; }
            s *= r * r * r / d;
            SIMD for (long j = 0; j < d; j++) o[j] += e[j] * gain[j] * r - a[j] * s;
        } else {
            SIMD_SUM(s) for (long j = 0; j < d; j++) s += e[j] * a[j];
            s *= r * r * r / d;
            SIMD for (long j = 0; j < d; j++) o[j] += e[j] * r - a[j] * s;
        }
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

static void gate_backward(const float *x, const float *dy, float *dx, long n, long F) {
    for (long i = 0; i < n; i++) {
        const float *a = x + i * 2 * F, *b = a + F, *e = dy + i * F;
        float *da = dx + i * 2 * F, *db = da + F;
        SIMD for (long j = 0; j < F; j++) db[j] = 1.0f / (1.0f + exponential(-a[j]));
        SIMD for (long j = 0; j < F; j++) {
            const float s = db[j], silu = a[j] * s;
            da[j] = e[j] * b[j] * (s + silu * (1.0f - s));
            db[j] = e[j] * silu;
        }
    }
}

/* qkv [rows, T, 3, H, E] -> q, k, v [rows, H, T, E]: qk-norm where gains are given, then each pair (2i, 2i+1) turned. */
static void turn_forward(const float *qkv, const float *q_gain, const float *k_gain, const float *cosine, const float *sine,
                         float *q, float *k, float *v, float *inverse, long rows, long T, long H, long E, float eps) {
    const long half = E / 2;
    for (long b = 0; b < rows; b++) for (long t = 0; t < T; t++) for (int which = 0; which < 3; which++) for (long h = 0; h < H; h++) {
        const float *a = qkv + (((b * T + t) * 3 + which) * H + h) * E;
        float *o = (which == 0 ? q : which == 1 ? k : v) + ((b * H + h) * T + t) * E;
        if (which == 2) { memcpy(o, a, (size_t)E * 4); continue; }
        const float *gain = which ? k_gain : q_gain, *c = cosine + t * half, *s = sine + t * half;
        float r = 1;
        if (gain) {
            float sum = 0;
            SIMD_SUM(sum) for (long j = 0; j < E; j++) sum += a[j] * a[j];
            r = inverse[((b * T + t) * 2 + which) * H + h] = 1.0f / sqrtf(sum / E + eps);
        }
        for (long i = 0; i < half; i++) {
            const float x = a[2 * i] * r * (gain ? gain[2 * i] : 1), y = a[2 * i + 1] * r * (gain ? gain[2 * i + 1] : 1);
            o[2 * i] = x * c[i] - y * s[i];
            o[2 * i + 1] = x * s[i] + y * c[i];
        }
    }
}

static void turn_backward(const float *qkv, const float *q_gain, const float *k_gain, const float *cosine, const float *sine,
                          const float *inverse, const float *d_q, const float *d_k, const float *d_v, float *d_qkv,
                          float *d_q_gain, float *d_k_gain, long rows, long T, long H, long E) {
    const long half = E / 2;
    float turned[E];
    for (long b = 0; b < rows; b++) for (long t = 0; t < T; t++) for (int which = 0; which < 3; which++) for (long h = 0; h < H; h++) {
        const long at = (((b * T + t) * 3 + which) * H + h) * E;
        const float *a = qkv + at, *e = (which == 0 ? d_q : which == 1 ? d_k : d_v) + ((b * H + h) * T + t) * E;
        float *o = d_qkv + at;
        if (which == 2) { memcpy(o, e, (size_t)E * 4); continue; }
        const float *gain = which ? k_gain : q_gain, *c = cosine + t * half, *s = sine + t * half;
        float *d_gain = which ? d_k_gain : d_q_gain;
        for (long i = 0; i < half; i++) {
            turned[2 * i] = e[2 * i] * c[i] + e[2 * i + 1] * s[i];
            turned[2 * i + 1] = e[2 * i + 1] * c[i] - e[2 * i] * s[i];
        }
        if (!gain) { memcpy(o, turned, (size_t)E * 4); continue; }
        const float r = inverse[((b * T + t) * 2 + which) * H + h];
        float sum = 0;
        SIMD_SUM(sum) for (long j = 0; j < E; j++) {
            d_gain[j] += turned[j] * a[j] * r;
            turned[j] *= gain[j];
            sum += turned[j] * a[j];
        }
        sum *= r * r * r / E;
        SIMD for (long j = 0; j < E; j++) o[j] = turned[j] * r - a[j] * sum;
    }
}

/* Scores of one query against the first n keys; transposed keys [E, T] so that the inner loop runs over keys. */
INLINE void scores(float *out, const float *query, const float *transposed, int n, long T, const int E, float scale) {
    memset(out, 0, (size_t)n * 4);
    for (int c = 0; c < E; c++) {
        const float x = query[c] * scale, *row = transposed + c * T;
        SIMD for (int j = 0; j < n; j++) out[j] += x * row[j];
    }
}

INLINE void transpose(const float *x, float *y, long T, const int E) {
    for (long t = 0; t < T; t++) for (int c = 0; c < E; c++) y[c * T + t] = x[t * E + c];
}

INLINE void attend_forward_at(const float *q, const float *k, const float *v, float *p, float *mixed, long rows, long T, long H, const int E) {
    float *keys = malloc((size_t)(E * T) * 4), sum[E];
    const float scale = 1.0f / sqrtf((float)E);
    for (long b = 0; b < rows; b++) for (long h = 0; h < H; h++) {
        const long at = (b * H + h) * T;
        transpose(k + at * E, keys, T, E);
        for (long t = 0; t < T; t++) {
            float *s = p + (at + t) * T, top, z = 0;
            scores(s, q + (at + t) * E, keys, (int)t + 1, T, E, scale);
            top = s[0];
            SIMD_MAX(top) for (long j = 0; j <= t; j++) top = s[j] > top ? s[j] : top;
            SIMD_SUM(z) for (long j = 0; j <= t; j++) { const float x = exponential(s[j] - top); s[j] = x; z += x; }
            z = 1.0f / z;
            memset(sum, 0, sizeof sum);
            for (long j = 0; j <= t; j++) {
                const float weight = s[j] *= z, *row = v + (at + j) * E;
                SIMD for (int c = 0; c < E; c++) sum[c] += weight * row[c];
            }
            memcpy(mixed + ((b * T + t) * H + h) * E, sum, (size_t)E * 4);
        }
    }
    free(keys);
}

INLINE void attend_backward_at(const float *q, const float *k, const float *v, const float *p, const float *d_mixed,
                               float *d_q, float *d_k, float *d_v, long rows, long T, long H, const int E) {
    float *values = malloc((size_t)(E * T) * 4), *s = malloc((size_t)T * 4), sum[E];
    const float scale = 1.0f / sqrtf((float)E);
    memset(d_k, 0, (size_t)(rows * H * T * E) * 4);
    memset(d_v, 0, (size_t)(rows * H * T * E) * 4);
    for (long b = 0; b < rows; b++) for (long h = 0; h < H; h++) {
        const long at = (b * H + h) * T;
        transpose(v + at * E, values, T, E);
        for (long t = 0; t < T; t++) {
            const float *weight = p + (at + t) * T, *e = d_mixed + ((b * T + t) * H + h) * E, *query = q + (at + t) * E;
            float inner = 0;
            scores(s, e, values, (int)t + 1, T, E, 1.0f);
            SIMD_SUM(inner) for (long j = 0; j <= t; j++) inner += weight[j] * s[j];
            SIMD for (long j = 0; j <= t; j++) s[j] = weight[j] * (s[j] - inner) * scale;
            memset(sum, 0, sizeof sum);
            for (long j = 0; j <= t; j++) {
                const float ds = s[j], w = weight[j], *key = k + (at + j) * E;
                float *dk = d_k + (at + j) * E, *dv = d_v + (at + j) * E;
                SIMD for (int c = 0; c < E; c++) { sum[c] += ds * key[c]; dk[c] += ds * query[c]; dv[c] += w * e[c]; }
            }
            memcpy(d_q + (at + t) * E, sum, (size_t)E * 4);
        }
    }
    free(values);
    free(s);
}

/* A head width known at compile time doubles the speed of the inner loops; any other works as well. */
#define BY_HEAD_WIDTH(E, call) \
    switch (E) { case 8: call(8); break; case 16: call(16); break; case 32: call(32); break; case 64: call(64); break; default: call(E); }

/* Causal attention; p keeps the probabilities [rows, H, T, T], mixed is [rows, T, H, E]. */
static void attend_forward(const float *q, const float *k, const float *v, float *p, float *mixed, long rows, long T, long H, int E) {
#define CALL(width) attend_forward_at(q, k, v, p, mixed, rows, T, H, width)
    BY_HEAD_WIDTH(E, CALL)
#undef CALL
}

static void attend_backward(const float *q, const float *k, const float *v, const float *p, const float *d_mixed,
                            float *d_q, float *d_k, float *d_v, long rows, long T, long H, int E) {
#define CALL(width) attend_backward_at(q, k, v, p, d_mixed, d_q, d_k, d_v, rows, T, H, width)
    BY_HEAD_WIDTH(E, CALL)
#undef CALL
}

/* Sum of nats of the targets (tokens[:, 1:]); logits become scale * d(sum of nats + z_loss * sum of squared log Z). */
static double cross_entropy(float *logits, const long *tokens, long rows, long T, long V, float scale, float z_loss) {
    double nats = 0;
    for (long b = 0; b < rows; b++) for (long t = 0; t < T; t++) {
        float *a = logits + (b * T + t) * V, top = a[0], s = 0;
        const long target = tokens[b * (T + 1) + t + 1];
        const float wanted = a[target];
        SIMD_MAX(top) for (long j = 0; j < V; j++) top = a[j] > top ? a[j] : top;
        SIMD_SUM(s) for (long j = 0; j < V; j++) { const float x = exponential(a[j] - top); a[j] = x; s += x; }
        const float log_z = top + logf(s), share = scale * (1.0f + 2.0f * z_loss * log_z) / s;
        nats += log_z - wanted;
        SIMD for (long j = 0; j < V; j++) a[j] *= share;
        a[target] -= scale;
    }
    return nats;
}
