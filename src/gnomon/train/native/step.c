/* Value and gradient of next-token prediction for gnomon.model.transformer, in fp32, without autograd.

   A model of 20k parameters spends most of an eager step between operations, not in them; here the whole forward and
   backward pass is one call. The slow twin is autograd on model/transformer.py (tests/train/test_native.py: equal
   gradients). Rows are split over threads in contiguous parts and their gradients added in order, so a result depends
   on the number of threads and on nothing else. Matrix products go to the BLAS whose sgemm the caller hands in.

   Shapes: n = rows * context tokens, D width, H heads, E head width, F MLP width, V vocabulary, T context. */

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

typedef void (*sgemm_t)(const char *, const char *, const int *, const int *, const int *, const float *,
                        const float *, const int *, const float *, const int *, const float *, float *, const int *);

typedef struct {
    int vocab, width, depth, heads, head_dim, mlp, context, qk_norm, embedding_norm;
    float eps, branch;
} Shape;

/* Where each weight begins in the flat buffers. */
typedef struct { long qkv, out, gate_up, down, attention_norm, mlp_norm, q_norm, k_norm; } BlockAt;
typedef struct { long embedding, head, norm; } ModelAt;

/* What one block keeps for its backward pass. */
typedef struct {
    float *stream_in, *normed1, *inverse1, *qkv, *q, *k, *v, *inverse_qk, *attention, *mixed;
    float *stream_mid, *normed2, *inverse2, *gate_up, *gated;
} Kept;

typedef struct {
    Kept *blocks;
    float *stream, *inverse0, *normed, *inverse, *logits, *d_stream, *d_branch, *wide, *narrow, *d_q, *d_k, *d_v;
    float *gradient; /* of this part alone; NULL for the first, which adds to the caller's */
    void **owned;
    int owned_count;
} Workspace;

typedef struct {
    Shape shape;
    ModelAt at;
    BlockAt *blocks;
    const float *cosine, *sine; /* [T, E/2] */
    sgemm_t sgemm;
    void (*blas_threads)(int);
    long parameters;
    int rows, threads;
    Workspace *parts;
} Engine;

/* Y[n,out] = alpha X[n,in] W[out,in]' + beta Y */
static void linear(const Engine *e, const float *x, const float *w, float *y, int n, int in, int out, float alpha, float beta) {
    e->sgemm("T", "N", &out, &n, &in, &alpha, w, &in, x, &in, &beta, y, &out);
}

/* dX[n,in] = alpha dY[n,out] W[out,in] */
static void linear_input(const Engine *e, const float *dy, const float *w, float *dx, int n, int in, int out, float alpha) {
    const float zero = 0;
    e->sgemm("N", "N", &in, &n, &out, &alpha, w, &in, dy, &out, &zero, dx, &in);
}

/* dW[out,in] += alpha dY[n,out]' X[n,in] */
static void linear_weight(const Engine *e, const float *dy, const float *x, float *dw, int n, int in, int out, float alpha) {
    const float one = 1;
    e->sgemm("N", "T", &in, &out, &n, &alpha, x, &in, dy, &out, &one, dw, &in);
}

static float *room(Workspace *s, long count) {
    void *p = NULL;
    if (posix_memalign(&p, 64, (size_t)(count * 4 + 63) / 64 * 64)) return NULL;
    memset(p, 0, (size_t)count * 4);
    s->owned[s->owned_count++] = p;
    return p;
}

static void open_part(const Engine *e, Workspace *s, int rows, int with_gradient) {
    const Shape *m = &e->shape;
    const long n = (long)rows * m->context, D = m->width, F = m->mlp;
    s->owned = calloc((size_t)m->depth * 15 + 16, sizeof(void *));
    s->blocks = calloc((size_t)m->depth, sizeof(Kept));
    for (int i = 0; i < m->depth; i++) {
        Kept *k = s->blocks + i;
        k->stream_in = room(s, n * D); k->normed1 = room(s, n * D); k->inverse1 = room(s, n);
        k->qkv = room(s, n * 3 * D); k->q = room(s, n * D); k->k = room(s, n * D); k->v = room(s, n * D);
        k->inverse_qk = room(s, n * 2 * m->heads); k->attention = room(s, n * m->heads * m->context);
        k->mixed = room(s, n * D); k->stream_mid = room(s, n * D); k->normed2 = room(s, n * D);
        k->inverse2 = room(s, n); k->gate_up = room(s, n * 2 * F); k->gated = room(s, n * F);
    }
    s->stream = room(s, n * D); s->inverse0 = room(s, n); s->normed = room(s, n * D); s->inverse = room(s, n);
    s->logits = room(s, n * m->vocab); s->d_stream = room(s, n * D); s->d_branch = room(s, n * D);
    s->wide = room(s, n * (2 * F > 3 * D ? 2 * F : 3 * D)); s->narrow = room(s, n * (F > D ? F : D));
    s->d_q = room(s, n * D); s->d_k = room(s, n * D); s->d_v = room(s, n * D);
    s->gradient = with_gradient ? room(s, e->parameters) : NULL;
}

static void forward(const Engine *e, Workspace *s, const float *w, const long *tokens, int rows) {
    const Shape *m = &e->shape;
    const int T = m->context, D = m->width, F = m->mlp, n = rows * T;
    for (int b = 0; b < rows; b++)
        for (int t = 0; t < T; t++)
            memcpy(s->d_stream + ((long)b * T + t) * D, w + e->at.embedding + tokens[(long)b * (T + 1) + t] * D, (size_t)D * 4);
    if (m->embedding_norm) rms_forward(s->d_stream, NULL, s->stream, s->inverse0, n, D, m->eps);
    else memcpy(s->stream, s->d_stream, (size_t)n * D * 4);
    for (int i = 0; i < m->depth; i++) {
        Kept *k = s->blocks + i;
        const BlockAt *at = e->blocks + i;
        memcpy(k->stream_in, s->stream, (size_t)n * D * 4);
        rms_forward(s->stream, w + at->attention_norm, k->normed1, k->inverse1, n, D, m->eps);
        linear(e, k->normed1, w + at->qkv, k->qkv, n, D, 3 * D, 1, 0);
        turn_forward(k->qkv, m->qk_norm ? w + at->q_norm : NULL, m->qk_norm ? w + at->k_norm : NULL, e->cosine, e->sine,
                     k->q, k->k, k->v, k->inverse_qk, rows, T, m->heads, m->head_dim, m->eps);
        attend_forward(k->q, k->k, k->v, k->attention, k->mixed, rows, T, m->heads, m->head_dim);
        linear(e, k->mixed, w + at->out, s->stream, n, D, D, m->branch, 1);
        memcpy(k->stream_mid, s->stream, (size_t)n * D * 4);
        rms_forward(s->stream, w + at->mlp_norm, k->normed2, k->inverse2, n, D, m->eps);
        linear(e, k->normed2, w + at->gate_up, k->gate_up, n, D, 2 * F, 1, 0);
        gate_forward(k->gate_up, k->gated, n, F);
        linear(e, k->gated, w + at->down, s->stream, n, F, D, m->branch, 1);
    }
    rms_forward(s->stream, w + e->at.norm, s->normed, s->inverse, n, D, m->eps);
    linear(e, s->normed, w + e->at.head, s->logits, n, D, m->vocab, 1, 0);
}

static void backward(const Engine *e, Workspace *s, const float *w, float *g, const long *tokens, int rows) {
    const Shape *m = &e->shape;
    const int T = m->context, D = m->width, F = m->mlp, n = rows * T;
    linear_weight(e, s->logits, s->normed, g + e->at.head, n, D, m->vocab, 1);
    linear_input(e, s->logits, w + e->at.head, s->d_branch, n, D, m->vocab, 1);
    memset(s->d_stream, 0, (size_t)n * D * 4);
    rms_backward(s->stream, w + e->at.norm, s->inverse, s->d_branch, s->d_stream, g + e->at.norm, n, D);
    for (int i = m->depth - 1; i >= 0; i--) {
        Kept *k = s->blocks + i;
        const BlockAt *at = e->blocks + i;
        linear_weight(e, s->d_stream, k->gated, g + at->down, n, F, D, m->branch);
        linear_input(e, s->d_stream, w + at->down, s->narrow, n, F, D, m->branch);
        gate_backward(k->gate_up, s->narrow, s->wide, n, F);
        linear_weight(e, s->wide, k->normed2, g + at->gate_up, n, D, 2 * F, 1);
        linear_input(e, s->wide, w + at->gate_up, s->d_branch, n, D, 2 * F, 1);
        rms_backward(k->stream_mid, w + at->mlp_norm, k->inverse2, s->d_branch, s->d_stream, g + at->mlp_norm, n, D);
        linear_weight(e, s->d_stream, k->mixed, g + at->out, n, D, D, m->branch);
        linear_input(e, s->d_stream, w + at->out, s->d_branch, n, D, D, m->branch);
        attend_backward(k->q, k->k, k->v, k->attention, s->d_branch, s->d_q, s->d_k, s->d_v, rows, T, m->heads, m->head_dim);
        turn_backward(k->qkv, m->qk_norm ? w + at->q_norm : NULL, m->qk_norm ? w + at->k_norm : NULL, e->cosine, e->sine,
                      k->inverse_qk, s->d_q, s->d_k, s->d_v, s->wide, g + at->q_norm, g + at->k_norm,
                      rows, T, m->heads, m->head_dim);
        linear_weight(e, s->wide, k->normed1, g + at->qkv, n, D, 3 * D, 1);
        linear_input(e, s->wide, w + at->qkv, s->d_branch, n, D, 3 * D, 1);
        rms_backward(k->stream_in, w + at->attention_norm, k->inverse1, s->d_branch, s->d_stream, g + at->attention_norm, n, D);
    }
    for (int b = 0; b < rows; b++)
        for (int t = 0; t < T; t++) {
            const long i = (long)b * T + t, row = e->at.embedding + tokens[(long)b * (T + 1) + t] * D;
            if (m->embedding_norm) rms_backward(w + row, NULL, s->inverse0 + i, s->d_stream + i * D, g + row, NULL, 1, D);
            else for (int j = 0; j < D; j++) g[row + j] += s->d_stream[i * D + j];
        }
}

typedef struct {
    const Engine *engine; Workspace *space; const float *weights; float *gradient; const long *tokens;
    int rows; float scale, z_loss; double nats;
} Part;

static void *run_part(void *argument) {
    Part *p = argument;
    const Engine *e = p->engine;
    if (e->blas_threads) e->blas_threads(1);
    if (p->space->gradient) memset(p->gradient, 0, (size_t)e->parameters * 4);
    forward(e, p->space, p->weights, p->tokens, p->rows);
    p->nats = cross_entropy(p->space->logits, p->tokens, p->rows, e->shape.context, e->shape.vocab, p->scale, p->z_loss);
    backward(e, p->space, p->weights, p->gradient, p->tokens, p->rows);
    return NULL;
}

/* block_at: depth * 8 places in the order of BlockAt; model_at: 3. sgemm: Fortran interface. blas_threads may be NULL. */
Engine *gnomon_open(const Shape *shape, const long *model_at, const long *block_at, const float *cosine, const float *sine,
                    sgemm_t sgemm, void (*blas_threads)(int), long parameters, int rows, int threads) {
    Engine *e = calloc(1, sizeof(Engine));
    e->shape = *shape;
    memcpy(&e->at, model_at, sizeof(ModelAt));
    e->blocks = malloc((size_t)shape->depth * sizeof(BlockAt));
    memcpy(e->blocks, block_at, (size_t)shape->depth * sizeof(BlockAt));
    e->cosine = cosine; e->sine = sine; e->sgemm = sgemm; e->blas_threads = blas_threads;
    e->parameters = parameters; e->rows = rows; e->threads = threads < rows ? threads : rows;
    e->parts = calloc((size_t)e->threads, sizeof(Workspace));
    for (int i = 0; i < e->threads; i++) open_part(e, e->parts + i, (rows + e->threads - 1) / e->threads, i > 0);
    return e;
}

void gnomon_close(Engine *e) {
    for (int i = 0; i < e->threads; i++) {
        for (int j = 0; j < e->parts[i].owned_count; j++) free(e->parts[i].owned[j]);
        free(e->parts[i].owned);
        free(e->parts[i].blocks);
    }
    free(e->parts); free(e->blocks); free(e);
}

/* tokens [rows, T+1]. Adds to gradient: scale * d(sum of nats + z_loss * sum of squared log-partitions).
   Returns the sum of nats. rows is at most what gnomon_open was told. */
double gnomon_gradient(Engine *e, const float *weights, float *gradient, const long *tokens, int rows, float scale, float z_loss) {
    const int threads = e->threads < rows ? e->threads : rows, each = (rows + threads - 1) / threads;
    Part parts[threads];
    pthread_t ids[threads];
    double nats = 0;
    for (int i = 0; i < threads; i++) {
        const int first = i * each, count = first + each > rows ? rows - first : each;
        Part part = {e, e->parts + i, weights, i ? e->parts[i].gradient : gradient, tokens + (long)first * (e->shape.context + 1),
                     count > 0 ? count : 0, scale, z_loss, 0};
        parts[i] = part;
    }
    int started = 1;
    for (; started < threads && parts[started].rows; started++)
        if (pthread_create(ids + started, NULL, run_part, parts + started)) return NAN;
    run_part(parts);
    for (int i = 1; i < started; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < started; i++) nats += parts[i].nats;
    for (int i = 1; i < started; i++) add(gradient, parts[i].gradient, e->parameters);
    return nats;
}
