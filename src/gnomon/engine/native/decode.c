/* The forward pass of gnomon.model.transformer over token rows of any slots at any positions, in one call.

   A row is one token at one position of one slot. A call may hold a piece of a prompt, the newest tokens of many
   samples, or both; in every layer all rows first leave their keys and values, then look. What comes out for a row is
   bit for bit a function of the tokens before it: not of its neighbours, of how its prompt was cut, of whether its
   prefix was read here or copied, or of the threads, since no sum is ever split between rows, tiles or threads. The
   slow twin is model/transformer.py (tests/engine/test_native.py).

   n rows of a call, D width, H query heads, K key/value heads, E head width, F MLP width, V vocabulary. */

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../train/native/kernels.h"
#include "products.h"
#include "attention.h"
#include "model.h"

/* What a call reads and writes. wanted: rows whose next token is asked for. target: NULL, or the token to score. */
typedef struct {
    Model *model;
    const Room *room;
    int n, wanted_n;
    const int *token, *slot, *position, *wanted, *target;
    float *logits, *log_z;
    int *best;
    float *log_probability;
    int threads; /* that have come to work: fewer than were asked for give the same bits */
    atomic_int open, arrived, turn;
} Call;

typedef struct { Call *call; int index; float *weight; } Worker;

/* All threads have come here. They spin, since phases are short, and let others run when the machine is full. */
static void meet(Call *c) {
    if (c->threads == 1) return;
    const int turn = atomic_load_explicit(&c->turn, memory_order_acquire);
    if (atomic_fetch_add_explicit(&c->arrived, 1, memory_order_acq_rel) == c->threads - 1) {
        atomic_store_explicit(&c->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&c->turn, turn + 1, memory_order_release);
        return;
    }
    for (long spins = 0; atomic_load_explicit(&c->turn, memory_order_acquire) == turn; spins++)
        if (spins > 2000) sched_yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
}

static void share(const Worker *w, long count, long *first, long *last) {
    *first = count * w->index / w->call->threads;
    *last = count * (w->index + 1) / w->call->threads;
}

INLINE float inverse_rms(const float *x, long d, float eps) {
    float sum = 0;
    SIMD_SUM(sum) for (long j = 0; j < d; j++) sum += x[j] * x[j];
    return 1.0f / sqrtf(sum / d + eps);
}

/* One row ready to be multiplied by m: as bytes where m is of bytes. */
INLINE void ready(const Model *m, const Matrix *by, const float *x, long row) {
    if (by->kind != I8) return;
    const long groups = by->padded / GROUP;
    const Bytes *b = &m->bytes;
    to_bytes(x, by->ins, by->padded, b->bytes + row * 2 * by->padded, b->scale + row * groups, b->start + row * groups);
}

/* stream += branch * delta, then normed = gain * stream / rms. */
static void norm_rows(const Worker *w, const float *gain, int add_delta, const Matrix *by) {
    Model *m = w->call->model;
    const long D = m->shape.width;
    long first, last;
    share(w, w->call->n, &first, &last);
    for (long i = first; i < last; i++) {
        float *x = m->stream + i * D, *y = m->normed + i * D;
        if (add_delta) {
            const float *d = m->delta + i * m->delta_stride, branch = m->shape.branch;
            SIMD for (long j = 0; j < D; j++) x[j] += branch * d[j];
        }
        const float r = inverse_rms(x, D, m->shape.eps);
        SIMD for (long j = 0; j < D; j++) y[j] = x[j] * r * gain[j];
        if (by) ready(m, by, y, i);
    }
}

static void multiply(const Worker *w, const Matrix *by, const float *x, float *y, long stride, int n) {
    long first, last;
    share(w, by->panels, &first, &last);
    product(by, x, &w->call->model->bytes, y, stride, n, first, last);
}

/* One head of q or k: qk-norm where there is a gain, each pair (2i, 2i + 1) turned by its position, times scale. */
INLINE void turn(const Shape *s, const float *x, const float *gain, const float *turns, float scale, float *y) {
    const float r = gain ? inverse_rms(x, s->head_dim, s->eps) : 1.0f;
    for (long i = 0; i < s->head_dim / 2; i++) {
        const float a = x[2 * i] * r * (gain ? gain[2 * i] : 1.0f);
        const float b = x[2 * i + 1] * r * (gain ? gain[2 * i + 1] : 1.0f);
        y[2 * i] = (a * turns[2 * i] - b * turns[2 * i + 1]) * scale;
        y[2 * i + 1] = (a * turns[2 * i + 1] + b * turns[2 * i]) * scale;
    }
}

static void keep_rows(const Worker *w, long layer) {
    const Call *c = w->call;
    Model *m = c->model;
    const Shape *s = &m->shape;
    const Layer *l = m->layers + layer;
    const long E = s->head_dim, H = s->heads, K = s->kv_heads;
    const float scale = 1.0f / sqrtf((float)E);
    const float *q_gain = s->qk_norm ? l->q_norm : NULL, *k_gain = s->qk_norm ? l->k_norm : NULL;
    float key[E];
    long first, last;
    share(w, c->n, &first, &last);
    for (long i = first; i < last; i++) {
        const float *x = m->wide + i * m->wide_stride, *turns = m->turns + c->position[i] * E;
        for (long h = 0; h < H; h++) turn(s, x + h * E, q_gain, turns, scale, m->query + (i * H + h) * E);
        for (long k = 0; k < K; k++) {
            turn(s, x + (H + k) * E, k_gain, turns, 1.0f, key);
            keep(c->room, layer, c->slot[i], k, c->position[i], key, x + (H + K + k) * E);
        }
    }
}

static void attend_rows(const Worker *w, long layer) {
    const Call *c = w->call;
    Model *m = c->model;
    const long E = m->shape.head_dim, H = m->shape.heads, each = H / m->shape.kv_heads;
    float mixed[c->room->value_dim];
    long first, last;
    share(w, c->n * H, &first, &last);
    for (long at = first; at < last; at++) {
        const long i = at / H, h = at % H;
        attend(c->room, layer, c->slot[i], h / each, c->position[i], m->query + at * E, mixed, w->weight);
        memcpy(m->attended + at * E, mixed, (size_t)E * 4);
    }
}

static void ready_rows(const Worker *w, const Matrix *by, const float *x) {
    long first, last;
    share(w, w->call->n, &first, &last);
    for (long i = first; i < last; i++) ready(w->call->model, by, x + i * by->ins, i);
}

static void gate_rows(const Worker *w, const Matrix *by) {
    Model *m = w->call->model;
    long first, last;
    share(w, w->call->n, &first, &last);
    for (long i = first; i < last; i++) {
        float *y = m->gated + i * m->shape.mlp;
        gate_forward(m->wide + i * m->wide_stride, y, 1, m->shape.mlp);
        ready(m, by, y, i);
    }
}

static void embed_rows(const Worker *w) {
    Model *m = w->call->model;
    const long D = m->shape.width;
    long first, last;
    share(w, w->call->n, &first, &last);
    for (long i = first; i < last; i++) {
        float *x = m->stream + i * D;
        memcpy(x, m->embedding + w->call->token[i] * D, (size_t)D * 4);
        if (!m->shape.embedding_norm) continue;
        const float r = inverse_rms(x, D, m->shape.eps);
        SIMD for (long j = 0; j < D; j++) x[j] *= r;
    }
}

/* Log of the sum of exponentials, and the first of the largest. */
static float log_sum(const float *x, long n, int *best) {
    float top = x[0];
    double sum = 0;
    long at = 0;
    SIMD_MAX(top) for (long j = 0; j < n; j++) top = x[j] > top ? x[j] : top;
    while (at < n - 1 && !(x[at] >= top)) at++;
    *best = (int)at;
    for (long first = 0; first < n; first += 1024) {
        const long last = first + 1024 < n ? first + 1024 : n;
        float part = 0;
        SIMD_SUM(part) for (long j = first; j < last; j++) part += exponential(x[j] - top);
        sum += part;
    }
    return top + (float)log(sum);
}

/* Logits of the wanted rows, at most shape.rows of them at once; scores where targets are given. */
static void head_rows(const Worker *w) {
    Call *c = w->call;
    Model *m = c->model;
    const long D = m->shape.width, V = m->shape.vocab, at_once = c->target ? 64 : c->wanted_n;
    for (long start = 0; start < c->wanted_n; start += at_once) {
        const long n = c->wanted_n - start < at_once ? c->wanted_n - start : at_once;
        float *logits = c->target ? m->logits : c->logits;
        long first, last;
        share(w, n, &first, &last);
        for (long i = first; i < last; i++) {
            memcpy(m->picked + i * D, m->normed + c->wanted[start + i] * D, (size_t)D * 4);
            ready(m, &m->head, m->picked + i * D, i);
        }
        meet(c);
        multiply(w, &m->head, m->picked, logits, m->vocab_stride, (int)n);
        meet(c);
        for (long i = first; i < last; i++) {
            const float *x = logits + i * m->vocab_stride;
            c->log_z[start + i] = log_sum(x, V, c->best + start + i);
            if (c->target) c->log_probability[start + i] = x[c->target[start + i]] - c->log_z[start + i];
        }
        meet(c);
    }
}

static void *work(void *argument) {
    const Worker *w = argument;
    Call *c = w->call;
    Model *m = c->model;
    while (!atomic_load_explicit(&c->open, memory_order_acquire)) sched_yield();
    embed_rows(w);
    for (long layer = 0; layer < m->shape.depth; layer++) {
        const Layer *l = m->layers + layer;
        norm_rows(w, l->attention_norm, layer > 0, &l->qkv);
        meet(c);
        multiply(w, &l->qkv, m->normed, m->wide, m->wide_stride, c->n);
        meet(c);
        keep_rows(w, layer);
        meet(c);
        attend_rows(w, layer);
        meet(c);
        ready_rows(w, &l->out, m->attended);
        meet(c);
        multiply(w, &l->out, m->attended, m->delta, m->delta_stride, c->n);
        meet(c);
        norm_rows(w, l->mlp_norm, 1, &l->gate_up);
        meet(c);
        multiply(w, &l->gate_up, m->normed, m->wide, m->wide_stride, c->n);
        meet(c);
        gate_rows(w, &l->down);
        meet(c);
        multiply(w, &l->down, m->gated, m->delta, m->delta_stride, c->n);
        meet(c);
    }
    norm_rows(w, m->norm, 1, NULL);
    meet(c);
    if (c->wanted_n) head_rows(w);
    return NULL;
}

/* Read n rows, at most shape.rows. Logits [wanted_n, gnomon_stride], unless targets are given: then the log-probability
   of each, in nats. log_z, best: the logits' log-sum-exp and the first of the largest. Returns 0; 1 without memory. */
int gnomon_read(Model *m, const Room *room, int threads, int n, const int *token, const int *slot, const int *position,
                int wanted_n, const int *wanted, const int *target, float *logits, float *log_z, int *best,
                float *log_probability) {
    Call call = {m, room, n, wanted_n, token, slot, position, wanted, target, logits, log_z, best, log_probability,
                 0, 0, 0, 0};
    Worker workers[threads];
    pthread_t ids[threads];
    const long each = room->capacity + LANES;
    float *weight = malloc((size_t)(each * threads) * 4);
    if (!weight) return 1;
    for (int i = 0; i < threads; i++) workers[i] = (Worker){&call, i, weight + i * each};
    int started = 1;
    while (started < threads && !pthread_create(ids + started, NULL, work, workers + started)) started++;
    call.threads = started;
    atomic_store_explicit(&call.open, 1, memory_order_release);
    work(workers);
    for (int i = 1; i < started; i++) pthread_join(ids[i], NULL);
    free(weight);
    return 0;
}
