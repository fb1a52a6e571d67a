/* Causal attention with rotary positions and optional qk-norm, forward and backward, one head of one row at a time.

   Probabilities are not kept: the way back makes them again from each query's log-partition (arXiv:2205.14135), block of
   queries by block of queries, and never looks at a key that the block cannot see. Keys may serve a group of query heads.

   B rows, T context, H query heads, K key heads, E head width, P its room in whole vectors, S room of a row of scores. */

#define UNSEEN 200.0f /* how far below the highest a score is put whose key a query cannot see: e^-200 is 0 here */
#define QUERIES 16 /* in a block: few enough that its scores stay in the first-level cache */

typedef struct {
    long T, H, K, E, P, S;
    float eps;
    const float *turn;                    /* [T][2][P]: cosines, then sines with the sign that the pair's place gives */
    const float *q_gain, *k_gain;         /* [E] each, or NULL without qk-norm */
} Heads;

/* One head's matrices, side by side. */
typedef struct { float *q, *k, *v, *k_turned, *v_turned, *d_mixed, *d_q, *d_k, *d_v, *scores, *d_scores, *sum; } Desk;

static long desk_size(const Heads *m) { return 7 * m->T * m->P + 2 * m->E * m->S + 2 * QUERIES * m->S + (m->T + QUERIES) * m->P; }

static Desk desk_of(const Heads *m, float *room) {
    const long each = m->T * m->P, turned = m->E * m->S, block = QUERIES * m->S;
    Desk d;
    d.q = room; d.k = d.q + each; d.v = d.k + each; d.d_mixed = d.v + each; d.d_q = d.d_mixed + each; d.d_k = d.d_q + each;
    d.d_v = d.d_k + each; d.k_turned = d.d_v + each; d.v_turned = d.k_turned + turned; d.scores = d.v_turned + turned;
    d.d_scores = d.scores + block; d.sum = d.d_scores + block;
    return d;
}

INLINE vec neighbours(vec x) {
    mask other;
    for (int i = 0; i < LANES; i++) other[i] = i ^ 1;
#ifdef __clang__
    vec y;
    for (int i = 0; i < LANES; i++) y[i] = x[other[i]];
    return y;
#else
    return __builtin_shuffle(x, other);
#endif
}

/* rows x[stride] of one head -> y[T][P]: normed where a gain is given, turned, times scale. */
static void turn(const Heads *m, const float *x, long stride, const float *gain, float *inverse, long inverse_stride, float scale, float *y) {
    for (long t = 0; t < m->T; t++) {
        const float *a = x + t * stride, *turns = m->turn + t * 2 * m->P;
        float *o = y + t * m->P, r = scale;
        if (gain) {
            float s = 0;
            SIMD_SUM(s) for (long j = 0; j < m->E; j++) s += a[j] * a[j];
            r *= inverse[t * inverse_stride] = 1.0f / sqrtf(s / m->E + m->eps);
            SIMD for (long j = 0; j < m->E; j++) o[j] = a[j] * gain[j] * r;
        } else { SIMD for (long j = 0; j < m->E; j++) o[j] = a[j] * r; }
        for (long j = 0; j < m->P; j += LANES) {
            const vec z = *(const loose *)(o + j);
            *(loose *)(o + j) = z * *(const loose *)(turns + j) + neighbours(z) * *(const loose *)(turns + m->P + j);
        }
    }
}

/* The way back: dy[T][P] -> dx rows; d_gain adds up. dy is used up. */
static void turn_back(const Heads *m, const float *x, long stride, const float *gain, const float *inverse, long inverse_stride,
                      float scale, float *dy, float *dx, float *d_gain) {
    for (long t = 0; t < m->T; t++) {
        const float *a = x + t * stride, *turns = m->turn + t * 2 * m->P;
        float *e = dy + t * m->P, *o = dx + t * stride;
        for (long j = 0; j < m->P; j += LANES) {
            const vec z = *(const loose *)(e + j);
            *(loose *)(e + j) = scale * (z * *(const loose *)(turns + j) - neighbours(z) * *(const loose *)(turns + m->P + j));
        }
        if (!gain) { memcpy(o, e, (size_t)m->E * 4); continue; }
        const float r = inverse[t * inverse_stride];
        float s = 0;
        SIMD_SUM(s) for (long j = 0; j < m->E; j++) s += e[j] * gain[j] * a[j];
        SIMD for (long j = 0; j < m->E; j++) d_gain[j] += e[j] * a[j] * r;
        s *= r * r * r / m->E;
        SIMD for (long j = 0; j < m->E; j++) o[j] = e[j] * gain[j] * r - a[j] * s;
    }
}

static void gather(const Heads *m, const float *x, long stride, float *y) {
    for (long t = 0; t < m->T; t++) memcpy(y + t * m->P, x + t * stride, (size_t)m->E * 4);
}

/* x[T][P] -> y[E][S] */
static void transpose(const Heads *m, const float *x, float *y) {
    for (long t = 0; t < m->T; t += LANES)
        for (long c = 0; c < m->E; c++) {
            const long most = t + LANES < m->T ? LANES : m->T - t;
            for (long i = 0; i < most; i++) y[c * m->S + t + i] = x[(t + i) * m->P + c];
        }
}

/* Scores of a query, in whole vectors -> numbers whose sum is z: s[j] = e^(s[j] - top), zero where it cannot see. */
INLINE float exponentials(float *s, long seen, long all, float *top_of) {
    float top = s[0], z = 0;
    all &= -LANES; /* so that the compiler leaves out the loop over what does not fill a vector */
    for (long j = seen; j < all; j++) s[j] = s[0];
    SIMD_MAX(top) for (long j = 0; j < all; j++) top = s[j] > top ? s[j] : top;
    for (long j = seen; j < all; j++) s[j] = top - UNSEEN;
    SIMD_SUM(z) for (long j = 0; j < all; j++) { const float x = exponential(s[j] - top); s[j] = x; z += x; }
    *top_of = top;
    return z;
}

/* qkv [B, T, (H + 2K) E] -> mixed [B, T, H E], and for the way back log_z [B, H, T] and inverse [B, H + K, T]. */
static void attend(const Heads *m, const float *qkv, float *mixed, float *log_z, float *inverse, long B, float *room) {
    const long T = m->T, E = m->E, P = m->P, S = m->S, stride = (m->H + 2 * m->K) * E, group = m->H / m->K;
    const float scale = 1.0f / sqrtf((float)E);
    const Desk d = desk_of(m, room);
    for (long b = 0; b < B; b++) for (long h = 0; h < m->H; h++) {
        const float *row = qkv + b * T * stride;
        const long key = h / group;
        if (h % group == 0) {
            turn(m, row + (m->H + key) * E, stride, m->k_gain, inverse + (b * (m->H + m->K) + m->H + key) * T, 1, 1, d.k);
            transpose(m, d.k, d.k_turned);
            gather(m, row + (m->H + m->K + key) * E, stride, d.v);
        }
        turn(m, row + h * E, stride, m->q_gain, inverse + (b * (m->H + m->K) + h) * T, 1, scale, d.q);
        for (long t = 0; t < T; t += QUERIES) {
            const long queries = t + QUERIES < T ? QUERIES : T - t, keys = t + queries, all = (keys + LANES - 1) / LANES * LANES;
            product(d.q + t * P, P, d.k_turned, S, d.scores, S, queries, all, E);
            float z[QUERIES], top;
            for (long i = 0; i < queries; i++) {
                z[i] = exponentials(d.scores + i * S, t + i + 1, all, &top);
                log_z[(b * m->H + h) * T + t + i] = top + logf(z[i]);
            }
            product(d.scores, S, d.v, P, d.sum, P, queries, P, keys);
            for (long i = 0; i < queries; i++) {
                float *o = mixed + (b * T + t + i) * m->H * E + h * E;
                const float share = 1.0f / z[i];
                SIMD for (long j = 0; j < E; j++) o[j] = d.sum[i * P + j] * share;
            }
        }
    }
}

/* Scores and their gradients of a query, in whole vectors -> probabilities and the gradients of the scores. */
INLINE void softmax_back(float *p, float *ds, long seen, long all, float log_z, float inner) {
    all &= -LANES;
    SIMD for (long j = 0; j < all; j++) {
        const float x = exponential(p[j] - log_z);
        p[j] = x;
        ds[j] = x * (ds[j] - inner);
    }
    for (long j = seen; j < all; j++) p[j] = ds[j] = 0;
}

/* d_mixed -> d_qkv; d_q_gain and d_k_gain add up. */
static void attend_back(const Heads *m, const float *qkv, const float *mixed, const float *log_z, float *inverse, const float *d_mixed,
                        float *d_qkv, float *d_q_gain, float *d_k_gain, long B, float *room) {
    const long T = m->T, E = m->E, P = m->P, S = m->S, stride = (m->H + 2 * m->K) * E, group = m->H / m->K;
    const float scale = 1.0f / sqrtf((float)E);
    const Desk d = desk_of(m, room);
    for (long b = 0; b < B; b++) for (long h = 0; h < m->H; h++) {
        const float *row = qkv + b * T * stride;
        float *d_row = d_qkv + b * T * stride, *mine = inverse + (b * (m->H + m->K) + h) * T;
        const long key = h / group;
        float *keys_inverse = inverse + (b * (m->H + m->K) + m->H + key) * T;
        if (h % group == 0) {
            turn(m, row + (m->H + key) * E, stride, m->k_gain, keys_inverse, 1, 1, d.k);
            gather(m, row + (m->H + m->K + key) * E, stride, d.v);
            transpose(m, d.k, d.k_turned);
            transpose(m, d.v, d.v_turned);
            memset(d.d_k, 0, (size_t)(T * P) * 4);
            memset(d.d_v, 0, (size_t)(T * P) * 4);
        }
        turn(m, row + h * E, stride, m->q_gain, mine, 1, scale, d.q);
        gather(m, d_mixed + b * T * m->H * E + h * E, m->H * E, d.d_mixed);
        for (long t = 0; t < T; t += QUERIES) {
            const long queries = t + QUERIES < T ? QUERIES : T - t, keys = t + queries, all = (keys + LANES - 1) / LANES * LANES;
            product(d.q + t * P, P, d.k_turned, S, d.scores, S, queries, all, E);
            product(d.d_mixed + t * P, P, d.v_turned, S, d.d_scores, S, queries, all, E);
            for (long i = 0; i < queries; i++) {
                const float *o = mixed + (b * T + t + i) * m->H * E + h * E, *e = d.d_mixed + (t + i) * P;
                float inner = 0;
                SIMD_SUM(inner) for (long j = 0; j < E; j++) inner += o[j] * e[j];
                softmax_back(d.scores + i * S, d.d_scores + i * S, t + i + 1, all, log_z[(b * m->H + h) * T + t + i], inner);
            }
            product(d.d_scores, S, d.k, P, d.d_q + t * P, P, queries, P, keys);
            product_turned(d.d_scores, S, d.q + t * P, P, d.d_k, P, keys, P, queries);
            product_turned(d.scores, S, d.d_mixed + t * P, P, d.d_v, P, keys, P, queries);
        }
        turn_back(m, row + h * E, stride, m->q_gain, mine, 1, scale, d.d_q, d_row + h * E, d_q_gain);
        if (h % group == group - 1) {
            turn_back(m, row + (m->H + key) * E, stride, m->k_gain, keys_inverse, 1, 1, d.d_k, d_row + (m->H + key) * E, d_k_gain);
            for (long t = 0; t < T; t++) memcpy(d_row + t * stride + (m->H + m->K + key) * E, d.d_v + t * P, (size_t)E * 4);
        }
    }
}
