/* Causal attention with rotary positions and optional qk-norm, forward and backward, one head of one row at a time.

   Probabilities are not kept: the way back makes them again from each query's log-partition (arXiv:2205.14135), block
   of queries by block of queries, and never looks at a key that the block cannot see. Keys may serve a group of heads.

   B rows, T context, H query heads, K key heads, E head width, P its room in whole vectors, S that of a row of scores. */

#define KEYS 128 /* that the way back looks at in one go, for the same reason as */
#define QUERIES 16 /* in a block, whole vectors: few enough that its scores stay in the first-level cache */

typedef struct {
    long T, H, K, E, P, S;
    float eps;
    const float *turn;                    /* [T][2][P]: cosines, then sines with the sign that the pair's place gives */
    const float *q_gain, *k_gain;         /* [E] each, or NULL without qk-norm */
} Heads;

/* One head's matrices, side by side. */
typedef struct { float *q, *k, *v, *k_turned, *v_turned, *d_mixed, *d_q, *d_k, *d_v, *scores, *d_scores, *sum; } Desk;

static long block_size(const Heads *m) { return QUERIES * (m->S > KEYS ? m->S : KEYS); }

static long desk_size(const Heads *m) {
    return 7 * m->T * m->P + 2 * m->E * m->S + 2 * block_size(m) + QUERIES * m->P;
}

static Desk desk_of(const Heads *m, float *room) {
    const long each = m->T * m->P, turned = m->E * m->S, block = block_size(m);
    Desk d;
    d.q = room; d.k = d.q + each; d.v = d.k + each; d.d_mixed = d.v + each; d.d_q = d.d_mixed + each;
    d.d_k = d.d_q + each;
    d.d_v = d.d_k + each; d.k_turned = d.d_v + each; d.v_turned = d.k_turned + turned; d.scores = d.v_turned + turned;
    d.d_scores = d.scores + block; d.sum = d.d_scores + block;
    return d;
}

/* Vector w of a head's row at x; what lies behind the head's last number counts as 0. */
INLINE vec part(const float *x, int w, long E) {
    whole places;
    for (int j = 0; j < LANES; j++) places[j] = w * LANES + j;
    return (vec)((whole)*(const loose *)(x + w * LANES) & (places < (int)E));
}

INLINE void put(vec x, float *y, int w, long E) {
    if ((w + 1) * LANES <= E) *(loose *)(y + w * LANES) = x;
    else memcpy(y + w * LANES, &x, (size_t)(E - w * LANES) * 4);
}

/* inverse[t] = 1 / rms of a head's rows x[stride]. */
static void norms(const Heads *m, const float *x, long stride, float *inverse) {
    for (long t = 0; t < m->T; t++) {
        vec squares = {0};
        for (int w = 0; w < m->P / LANES; w++) { const vec z = part(x + t * stride, w, m->E); squares += z * z; }
        inverse[t] = total(squares);
    }
    SIMD for (long t = 0; t < m->T; t++) inverse[t] = 1.0f / sqrtf(inverse[t] / m->E + m->eps);
}

/* rows x[stride] of one head -> y[T][P]: normed where a gain is given, turned, times scale. W: vectors in y's rows. */
INLINE void turn_at(const Heads *m, const float *x, long stride, const float *gain, const float *inverse,
                    float scale, float *y, const int W) {
    for (long t = 0; t < m->T; t++) {
        const float *a = x + t * stride, *turns = m->turn + t * 2 * m->P, r = gain ? scale * inverse[t] : scale;
        for (int w = 0; w < W; w++) {
            vec z = part(a, w, m->E) * r;
            if (gain) z *= part(gain, w, m->E);
            const vec cosine = *(const vec *)(turns + w * LANES), sine = *(const vec *)(turns + m->P + w * LANES);
            *(vec *)(y + t * m->P + w * LANES) = z * cosine + exchanged(z, 1) * sine;
        }
    }
}

/* The way back: dy[T][P] -> dx rows; d_gain adds up. dy is used up. */
INLINE void turn_back_at(const Heads *m, const float *x, long stride, const float *gain, const float *inverse,
                         float scale, float *dy, float *dx, float *d_gain, const int W) {
    for (long t = 0; t < m->T; t++) {
        const float *a = x + t * stride, *turns = m->turn + t * 2 * m->P, r = gain ? inverse[t] : 1;
        vec products = {0}, *e = (vec *)(dy + t * m->P);
        for (int w = 0; w < W; w++) {
            const vec cosine = *(const vec *)(turns + w * LANES), sine = *(const vec *)(turns + m->P + w * LANES);
            vec z = scale * (e[w] * cosine - exchanged(e[w], 1) * sine);
            if (gain) {
                const vec before = part(a, w, m->E);
                put(part(d_gain, w, m->E) + z * before * r, d_gain, w, m->E);
                z *= part(gain, w, m->E);
                products += z * before;
            }
            e[w] = z;
        }
        const float s = gain ? total(products) * (r * r * r / m->E) : 0;
        for (int w = 0; w < W; w++) put(e[w] * r - part(a, w, m->E) * s, dx + t * stride, w, m->E);
    }
}

/* A head width known at compile time halves the time; any other works as well. */
#define BY_WIDTH(P, call) \
    switch ((P) / LANES) { \
        case 1: call(1); break; \
        case 2: call(2); break; \
        case 4: call(4); break; \
        default: call((int)((P) / LANES)); \
    }

static void turn(const Heads *m, const float *x, long stride, const float *gain, const float *inverse, float scale,
                 float *y) {
#define CALL(W) turn_at(m, x, stride, gain, inverse, scale, y, W)
    BY_WIDTH(m->P, CALL)
#undef CALL
}

static void turn_back(const Heads *m, const float *x, long stride, const float *gain, const float *inverse,
                      float scale, float *dy, float *dx, float *d_gain) {
#define CALL(W) turn_back_at(m, x, stride, gain, inverse, scale, dy, dx, d_gain, W)
    BY_WIDTH(m->P, CALL)
#undef CALL
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

/* All bits of the numbers that query i of a block sees of the block's own keys, for i vectors before these. */
INLINE whole seen(int i, int vector) {
    whole places;
    for (int j = 0; j < LANES; j++) places[j] = vector * LANES + j;
    return places <= i;
}

/* Scores of query i of a block -> numbers whose sum is z: s[j] = e^(s[j] - top), 0 where it cannot see. before: keys in
   front of the block, whole vectors of them; of the block's own QUERIES keys it sees i + 1. */
INLINE float exponentials(float *s, long before, int i, float *top_of) {
    const long all = before + QUERIES;
    const whole least_of_all = (whole)(vec){0} | (int)0xff800000; /* minus infinity */
    float top = s[before];
    vec sum = {0};
    for (int w = 0; w < QUERIES / LANES; w++) {
        whole *own = (whole *)(s + before) + w;
        *own = (*own & seen(i, w)) | (least_of_all & ~seen(i, w));
    }
    SIMD_MAX(top) for (long j = 0; j < (all & -LANES); j++) top = s[j] > top ? s[j] : top;
    for (long j = 0; j < all; j += LANES) {
        const vec x = exponential_of(*(vec *)(s + j) - top);
        *(vec *)(s + j) = x;
        sum += x;
    }
    *top_of = top;
    return total(sum);
}

/* qkv [B, T, (H + 2K) E] -> mixed [B, T, H E], and for the way back log_z [B, H, T] and inverse [B, H + K, T]. */
static void attend(const Heads *m, const float *qkv, float *mixed, float *log_z, float *inverse, long B, float *room) {
    const long T = m->T, E = m->E, P = m->P, S = m->S, stride = (m->H + 2 * m->K) * E, group = m->H / m->K;
    const float scale = 1.0f / sqrtf((float)E);
    const Desk d = desk_of(m, room);
    for (long b = 0; b < B; b++) for (long h = 0; h < m->H; h++) {
        const float *row = qkv + b * T * stride;
        const long key = h / group;
        float *mine = inverse + (b * (m->H + m->K) + h) * T;
        if (h % group == 0) {
            float *keys_inverse = inverse + (b * (m->H + m->K) + m->H + key) * T;
            if (m->k_gain) norms(m, row + (m->H + key) * E, stride, keys_inverse);
            turn(m, row + (m->H + key) * E, stride, m->k_gain, keys_inverse, 1, d.k);
            transpose(m, d.k, d.k_turned);
            gather(m, row + (m->H + m->K + key) * E, stride, d.v);
        }
        if (m->q_gain) norms(m, row + h * E, stride, mine);
        turn(m, row + h * E, stride, m->q_gain, mine, scale, d.q);
        for (long t = 0; t < T; t += QUERIES) {
            const long queries = t + QUERIES < T ? QUERIES : T - t, keys = t + queries;
            product(d.q + t * P, P, d.k_turned, S, d.scores, S, queries, t + QUERIES, E, 0);
            float z[QUERIES], top;
            for (long i = 0; i < queries; i++) {
                z[i] = exponentials(d.scores + i * S, t, (int)i, &top);
                log_z[(b * m->H + h) * T + t + i] = top + logf(z[i]);
            }
            product(d.scores, S, d.v, P, d.sum, P, queries, P, keys, 0);
            for (long i = 0; i < queries; i++) {
                float *o = mixed + (b * T + t + i) * m->H * E + h * E;
                for (int w = 0; w < P / LANES; w++) put(*(vec *)(d.sum + i * P + w * LANES) * (1.0f / z[i]), o, w, E);
            }
        }
    }
}

/* Scores and their gradients of query i of a block, for n keys -> probabilities and the gradients of the scores. Of the
   last QUERIES keys it sees i + 1 if own is set, else all. */
INLINE void softmax_back(float *p, float *ds, long n, int own, int i, float log_z, float inner) {
    const long before = own ? n - QUERIES : n;
    for (long j = 0; j < before; j += LANES) {
        const vec x = exponential_of(*(vec *)(p + j) - log_z);
        *(vec *)(p + j) = x;
        *(vec *)(ds + j) = x * (*(vec *)(ds + j) - inner);
    }
    for (long j = before; j < n; j += LANES) {
        const vec x = (vec)((whole)exponential_of(*(vec *)(p + j) - log_z) & seen(i, (int)(j - before) / LANES));
        *(vec *)(p + j) = x;
        *(vec *)(ds + j) = x * (*(vec *)(ds + j) - inner);
    }
}

/* The way back of the block of queries that begins at t: writes their d_q, adds to d_k and d_v of the keys they see. */
static void block_back(const Heads *m, const Desk *d, long t, const float *mixed, const float *log_z) {
    const long T = m->T, P = m->P, S = m->S, queries = t + QUERIES < T ? QUERIES : T - t, all = t + QUERIES;
    float inner[QUERIES];
    for (long i = 0; i < queries; i++) {
        vec sum = {0};
        for (int w = 0; w < P / LANES; w++)
            sum += part(mixed + (t + i) * m->H * m->E, w, m->E) * part(d->d_mixed + (t + i) * P, w, m->E);
        inner[i] = total(sum);
    }
    for (long j = 0; j < all; j += KEYS) {
        const long n = j + KEYS < all ? KEYS : all - j, keys = j + n < T ? n : T - j;
        product(d->q + t * P, P, d->k_turned + j, S, d->scores, KEYS, queries, n, m->E, 0);
        product(d->d_mixed + t * P, P, d->v_turned + j, S, d->d_scores, KEYS, queries, n, m->E, 0);
        for (long i = 0; i < queries; i++)
            softmax_back(d->scores + i * KEYS, d->d_scores + i * KEYS, n, j + n == all, (int)i, log_z[t + i], inner[i]);
        product(d->d_scores, KEYS, d->k + j * P, P, d->d_q + t * P, P, queries, P, keys, j > 0);
        product_turned(d->d_scores, KEYS, d->q + t * P, P, d->d_k + j * P, P, keys, P, queries);
        product_turned(d->scores, KEYS, d->d_mixed + t * P, P, d->d_v + j * P, P, keys, P, queries);
    }
}

/* d_mixed -> d_qkv; d_q_gain and d_k_gain add up. */
static void attend_back(const Heads *m, const float *qkv, const float *mixed, const float *log_z, float *inverse,
                        const float *d_mixed, float *d_qkv, float *d_q_gain, float *d_k_gain, long B, float *room) {
    const long T = m->T, E = m->E, P = m->P, stride = (m->H + 2 * m->K) * E, group = m->H / m->K;
    const float scale = 1.0f / sqrtf((float)E);
    const Desk d = desk_of(m, room);
    for (long b = 0; b < B; b++) for (long h = 0; h < m->H; h++) {
        const float *row = qkv + b * T * stride;
        float *d_row = d_qkv + b * T * stride, *mine = inverse + (b * (m->H + m->K) + h) * T;
        const long key = h / group;
        float *keys_inverse = inverse + (b * (m->H + m->K) + m->H + key) * T;
        if (h % group == 0) {
            turn(m, row + (m->H + key) * E, stride, m->k_gain, keys_inverse, 1, d.k);
            gather(m, row + (m->H + m->K + key) * E, stride, d.v);
            transpose(m, d.k, d.k_turned);
            transpose(m, d.v, d.v_turned);
            memset(d.d_k, 0, (size_t)(T * P) * 4);
            memset(d.d_v, 0, (size_t)(T * P) * 4);
        }
        turn(m, row + h * E, stride, m->q_gain, mine, scale, d.q);
        gather(m, d_mixed + b * T * m->H * E + h * E, m->H * E, d.d_mixed);
        for (long t = 0; t < T; t += QUERIES)
            block_back(m, &d, t, mixed + b * T * m->H * E + h * E, log_z + (b * m->H + h) * T);
        turn_back(m, row + h * E, stride, m->q_gain, mine, scale, d.d_q, d_row + h * E, d_q_gain);
        if (h % group == group - 1) {
            turn_back(m, row + (m->H + key) * E, stride, m->k_gain, keys_inverse, 1, d.d_k, d_row + (m->H + key) * E,
                      d_k_gain);
            for (long t = 0; t < T; t++)
                memcpy(d_row + t * stride + (m->H + m->K + key) * E, d.d_v + t * P, (size_t)E * 4);
        }
    }
}
