/* Value and gradient of next-token prediction for gnomon.model.transformer, without autograd.

   A model of 20k parameters spends most of an eager step between operations, and one of a few millions most of it in
   passes over memory; here the whole forward and backward pass is one call, over a few hundred tokens at a time, so
   that what the way back reads is still in the cache. The slow twin is autograd on model/transformer.py (tests/train/
   test_native.py: equal gradients). Rows are split over threads in contiguous parts and their gradients added in order,
   so a result depends on the number of threads and on nothing else.

   Large matrix products go to the BLAS whose sgemm the caller hands in; with its bfloat16 product handed in too, the
   factors of every one of them are rounded to bfloat16, and sums, weights and gradients stay in fp32.

   Shapes: n tokens at a time, D width, H query heads, K key heads, E head width, F MLP, V vocabulary, T context. */

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels.h"
#include "product.h"
#include "attention.h"

#define TOKENS 512 /* at a time, in whole rows: what a block keeps of them then lies in the second and third cache */
#define HUGE_PAGE (2 << 20)
#define LOGITS (1 << 18) /* at a time: 1 MiB, so that the head's way there and back stays in the cache */

typedef void (*gemm_t)(const char *, const char *, const int *, const int *, const int *, const float *, const void *,
                       const int *, const void *, const int *, const float *, float *, const int *);

typedef struct {
    int vocab, width, depth, heads, key_heads, head_dim, mlp, context, qk_norm, embedding_norm;
    float eps, branch;
} Shape;

/* Where each weight begins in the flat buffers. */
typedef struct { long qkv, out, gate_up, down, attention_norm, mlp_norm, q_norm, k_norm; } BlockAt;
typedef struct { long embedding, head, norm; } ModelAt;

/* What one block keeps for its backward pass; what is cheap to make again is made again. */
typedef struct {
    float *stream_in, *inverse1, *qkv, *inverse_qk, *log_z, *mixed, *stream_mid, *inverse2, *gate_up;
} Kept;

typedef struct {
    Kept *blocks;
    float *stream, *inverse0, *inverse, *normed, *logits, *d_stream, *d_branch, *wide, *narrow, *desk;
    unsigned short *short_left, *short_right;
    int *targets;
    float *gradient; /* of this part alone; NULL for the first, which adds to the caller's */
    void **owned;
    int owned_count;
} Workspace;

typedef struct {
    Shape shape;
    ModelAt at;
    BlockAt *blocks;
    float *turns; /* [T][2][P] */
    gemm_t sgemm, short_gemm; /* the second is NULL in fp32 */
    void (*blas_threads)(int);
    long parameters, chunk; /* tokens whose logits are held at once */
    int rows, block, threads; /* at most rows in a call, block of them at a time */
    Workspace *parts;
} Engine;

/* Weights as the optimiser holds them, and rounded to bfloat16 (NULL in fp32). */
typedef struct { const float *wide; const unsigned short *rounded; } Weights;

/* Y[n,out] = alpha X[n,in] W[out,in]' + beta Y */
static void linear(const Engine *e, Workspace *s, const float *x, Weights w, long at, float *y, int n, int in,
                   int out, float alpha, float beta) {
    if (!e->short_gemm) { e->sgemm("T", "N", &out, &n, &in, &alpha, w.wide + at, &in, x, &in, &beta, y, &out); return; }
    shorten(x, s->short_left, (long)n * in);
    e->short_gemm("T", "N", &out, &n, &in, &alpha, w.rounded + at, &in, s->short_left, &in, &beta, y, &out);
}

/* dX[n,in] = alpha dY[n,out] W[out,in] */
static void linear_input(const Engine *e, Workspace *s, const float *dy, Weights w, long at, float *dx, int n,
                         int in, int out, float alpha) {
    const float zero = 0;
    if (!e->short_gemm) {
        e->sgemm("N", "N", &in, &n, &out, &alpha, w.wide + at, &in, dy, &out, &zero, dx, &in);
        return;
    }
    shorten(dy, s->short_right, (long)n * out);
    e->short_gemm("N", "N", &in, &n, &out, &alpha, w.rounded + at, &in, s->short_right, &out, &zero, dx, &in);
}

/* dW[out,in] += alpha dY[n,out]' X[n,in]; follows linear_input, which has rounded dY. */
static void linear_weight(const Engine *e, Workspace *s, const float *dy, const float *x, float *dw, int n, int in,
                          int out, float alpha) {
    const float one = 1;
    if (!e->short_gemm) { e->sgemm("N", "T", &in, &out, &n, &alpha, x, &in, dy, &out, &one, dw, &in); return; }
    shorten(x, s->short_left, (long)n * in);
    e->short_gemm("N", "T", &in, &out, &n, &alpha, s->short_left, &in, s->short_right, &out, &one, dw, &in);
}

static void *room(Workspace *s, long count) {
    void *p = NULL;
    const size_t size = (size_t)(count * 4 + 127) / 64 * 64; /* whole vectors may be read at the end */
    const int big = size >= HUGE_PAGE / 2;
    if (posix_memalign(&p, big ? HUGE_PAGE : 64, size)) return NULL;
#ifdef MADV_HUGEPAGE
    if (big) madvise(p, size, MADV_HUGEPAGE); /* a wish: heads are read line by line, each from another small page */
#endif
    memset(p, 0, size);
    s->owned[s->owned_count++] = p;
    return p;
}

static long most(long a, long b) { return a > b ? a : b; }
static long least(long a, long b) { return a < b ? a : b; }

static Heads heads_of(const Engine *e) {
    const Shape *m = &e->shape;
    const long P = (m->head_dim + LANES - 1) / LANES * LANES, S = (m->context + QUERIES - 1) / QUERIES * QUERIES;
    const Heads h = {m->context, m->heads, m->key_heads, m->head_dim, P, S, m->eps, e->turns, NULL, NULL};
    return h;
}

static void open_part(const Engine *e, Workspace *s, int with_gradient) {
    const Shape *m = &e->shape;
    const Heads h = heads_of(e);
    const long n = (long)e->block * m->context, D = m->width, F = m->mlp, A = (long)m->heads * m->head_dim;
    const long Q = A + 2L * m->key_heads * m->head_dim, widest = most(most(2 * F, Q), most(D, A));
    s->owned = calloc((size_t)m->depth * 9 + 16, sizeof(void *));
    s->blocks = calloc((size_t)m->depth, sizeof(Kept));
    for (int i = 0; i < m->depth; i++) {
        Kept *k = s->blocks + i;
        k->stream_in = room(s, n * D); k->inverse1 = room(s, n); k->qkv = room(s, n * Q);
        k->inverse_qk = room(s, n * (m->heads + m->key_heads)); k->log_z = room(s, n * m->heads);
        k->mixed = room(s, n * A);
        k->stream_mid = room(s, n * D); k->inverse2 = room(s, n); k->gate_up = room(s, n * 2 * F);
    }
    s->stream = room(s, n * D); s->inverse0 = room(s, n); s->inverse = room(s, n); s->normed = room(s, n * D);
    s->logits = room(s, least(e->chunk, n) * m->vocab); s->d_stream = room(s, n * D);
    s->d_branch = room(s, n * most(D, A));
    s->wide = room(s, n * most(2 * F, Q)); s->narrow = room(s, n * most(F, D)); s->desk = room(s, desk_size(&h));
    s->targets = room(s, n);
    if (e->short_gemm) {
        const long numbers = most(n * widest, least(e->chunk, n) * m->vocab);
        s->short_left = room(s, numbers / 2 + 1); s->short_right = room(s, numbers / 2 + 1);
    }
    s->gradient = with_gradient ? room(s, e->parameters) : NULL;
}

static Heads heads_at(const Engine *e, const float *w, const BlockAt *at) {
    Heads h = heads_of(e);
    if (e->shape.qk_norm) { h.q_gain = w + at->q_norm; h.k_gain = w + at->k_norm; }
    return h;
}

static void forward(const Engine *e, Workspace *s, Weights w, const long *tokens, int rows) {
    const Shape *m = &e->shape;
    const int T = m->context, D = m->width, F = m->mlp, n = rows * T, A = m->heads * m->head_dim,
        Q = A + 2 * m->key_heads * m->head_dim;
    for (int b = 0; b < rows; b++) for (int t = 0; t < T; t++) {
        const long *token = tokens + (long)b * (T + 1) + t;
        memcpy(s->d_stream + ((long)b * T + t) * D, w.wide + e->at.embedding + *token * D, (size_t)D * 4);
        s->targets[b * T + t] = (int)token[1];
    }
    if (m->embedding_norm) rms_forward(s->d_stream, NULL, s->stream, s->inverse0, n, D, m->eps);
    else memcpy(s->stream, s->d_stream, (size_t)n * D * 4);
    for (int i = 0; i < m->depth; i++) {
        Kept *k = s->blocks + i;
        const BlockAt *at = e->blocks + i;
        const Heads h = heads_at(e, w.wide, at);
        memcpy(k->stream_in, s->stream, (size_t)n * D * 4);
        rms_forward(s->stream, w.wide + at->attention_norm, s->normed, k->inverse1, n, D, m->eps);
        linear(e, s, s->normed, w, at->qkv, k->qkv, n, D, Q, 1, 0);
        attend(&h, k->qkv, k->mixed, k->log_z, k->inverse_qk, rows, s->desk);
        linear(e, s, k->mixed, w, at->out, s->stream, n, A, D, m->branch, 1);
        memcpy(k->stream_mid, s->stream, (size_t)n * D * 4);
        rms_forward(s->stream, w.wide + at->mlp_norm, s->normed, k->inverse2, n, D, m->eps);
        linear(e, s, s->normed, w, at->gate_up, k->gate_up, n, D, 2 * F, 1, 0);
        gate_forward(k->gate_up, s->narrow, n, F);
        linear(e, s, s->narrow, w, at->down, s->stream, n, F, D, m->branch, 1);
    }
    rms_forward(s->stream, w.wide + e->at.norm, s->normed, s->inverse, n, D, m->eps);
}

/* The head there and back, a chunk of tokens at a time: leaves the gradient of normed in d_branch. */
static double head(const Engine *e, Workspace *s, Weights w, float *g, int n, float scale, float z_loss) {
    const int D = e->shape.width, V = e->shape.vocab;
    double nats = 0;
    for (long i = 0; i < n; i += e->chunk) {
        const int count = (int)least(e->chunk, n - i);
        linear(e, s, s->normed + i * D, w, e->at.head, s->logits, count, D, V, 1, 0);
        nats += cross_entropy(s->logits, s->targets + i, count, V, scale, z_loss);
        linear_input(e, s, s->logits, w, e->at.head, s->d_branch + i * D, count, D, V, 1);
        linear_weight(e, s, s->logits, s->normed + i * D, g + e->at.head, count, D, V, 1);
    }
    return nats;
}

/* The head there alone: nats of each token. */
static void head_nats(const Engine *e, Workspace *s, Weights w, float *nats, int n) {
    const int D = e->shape.width, V = e->shape.vocab;
    for (long i = 0; i < n; i += e->chunk) {
        const int count = (int)least(e->chunk, n - i);
        linear(e, s, s->normed + i * D, w, e->at.head, s->logits, count, D, V, 1, 0);
        target_nats(s->logits, s->targets + i, nats + i, count, V);
    }
}

static void backward(const Engine *e, Workspace *s, Weights w, float *g, const long *tokens, int rows) {
    const Shape *m = &e->shape;
    const int T = m->context, D = m->width, F = m->mlp, n = rows * T, A = m->heads * m->head_dim,
        Q = A + 2 * m->key_heads * m->head_dim;
    memset(s->d_stream, 0, (size_t)n * D * 4);
    rms_backward(s->stream, w.wide + e->at.norm, s->inverse, s->d_branch, s->d_stream, g + e->at.norm, NULL, n, D);
    for (int i = m->depth - 1; i >= 0; i--) {
        Kept *k = s->blocks + i;
        const BlockAt *at = e->blocks + i;
        const Heads h = heads_at(e, w.wide, at);
        linear_input(e, s, s->d_stream, w, at->down, s->narrow, n, F, D, m->branch);
        gate_backward(k->gate_up, s->narrow, s->wide, n, F);
        linear_weight(e, s, s->d_stream, s->narrow, g + at->down, n, F, D, m->branch);
        linear_input(e, s, s->wide, w, at->gate_up, s->d_branch, n, D, 2 * F, 1);
        rms_backward(k->stream_mid, w.wide + at->mlp_norm, k->inverse2, s->d_branch, s->d_stream, g + at->mlp_norm,
                     s->normed, n, D);
        linear_weight(e, s, s->wide, s->normed, g + at->gate_up, n, D, 2 * F, 1);
        linear_input(e, s, s->d_stream, w, at->out, s->d_branch, n, A, D, m->branch);
        linear_weight(e, s, s->d_stream, k->mixed, g + at->out, n, A, D, m->branch);
        attend_back(&h, k->qkv, k->mixed, k->log_z, k->inverse_qk, s->d_branch, s->wide, g + at->q_norm,
                    g + at->k_norm, rows, s->desk);
        linear_input(e, s, s->wide, w, at->qkv, s->d_branch, n, D, Q, 1);
        rms_backward(k->stream_in, w.wide + at->attention_norm, k->inverse1, s->d_branch, s->d_stream,
                     g + at->attention_norm, s->normed, n, D);
        linear_weight(e, s, s->wide, s->normed, g + at->qkv, n, D, Q, 1);
    }
    for (int b = 0; b < rows; b++) for (int t = 0; t < T; t++) {
        const long i = (long)b * T + t, row = e->at.embedding + tokens[(long)b * (T + 1) + t] * D;
        const float *e_row = s->d_stream + i * D;
        if (m->embedding_norm) rms_backward(w.wide + row, NULL, s->inverse0 + i, e_row, g + row, NULL, NULL, 1, D);
        else add(g + row, s->d_stream + i * D, D);
    }
}

typedef struct {
    const Engine *engine; Workspace *space; Weights weights; float *gradient; const long *tokens;
    int rows; float scale, z_loss; double nats;
    float *each;  /* where it is not NULL: nats of every token, and nothing else */
} Part;

static void *run_part(void *argument) {
    Part *p = argument;
    const Engine *e = p->engine;
    if (e->blas_threads) e->blas_threads(1);
    if (p->space->gradient && !p->each) memset(p->gradient, 0, (size_t)e->parameters * 4);
    for (int i = 0; i < p->rows; i += e->block) {
        const int rows = (int)least(e->block, p->rows - i);
        const long *tokens = p->tokens + (long)i * (e->shape.context + 1);
        forward(e, p->space, p->weights, tokens, rows);
        if (p->each) {
            head_nats(e, p->space, p->weights, p->each + (long)i * e->shape.context, rows * e->shape.context);
            continue;
        }
        p->nats += head(e, p->space, p->weights, p->gradient, rows * e->shape.context, p->scale, p->z_loss);
        backward(e, p->space, p->weights, p->gradient, tokens, rows);
    }
    return NULL;
}

/* Cosines and signed sines of every place and pair, as attention.h wants them, from [T, E/2] each. */
static float *turns_of(const Shape *m, const float *cosine, const float *sine) {
    const long P = (m->head_dim + LANES - 1) / LANES * LANES, half = m->head_dim / 2;
    float *turns = calloc((size_t)(m->context * 2 * P + LANES), 4);
    for (long t = 0; t < m->context; t++) for (long j = 0; j < m->head_dim; j++) {
        turns[t * 2 * P + j] = cosine[t * half + j / 2];
        turns[t * 2 * P + P + j] = (j % 2 ? 1 : -1) * sine[t * half + j / 2];
    }
    return turns;
}

/* block_at: depth * 8 places in the order of BlockAt; model_at: 3. sgemm, short_gemm: Fortran interface; short_gemm and
   blas_threads may be NULL. rows: the most in one call. cosine, sine: [T, E/2]. */
Engine *gnomon_open(const Shape *shape, const long *model_at, const long *block_at, const float *cosine,
                    const float *sine, gemm_t sgemm, gemm_t short_gemm, void (*blas_threads)(int), long parameters,
                    int rows, int threads) {
    Engine *e = calloc(1, sizeof(Engine));
    e->shape = *shape;
    memcpy(&e->at, model_at, sizeof(ModelAt));
    e->blocks = malloc((size_t)shape->depth * sizeof(BlockAt));
    memcpy(e->blocks, block_at, (size_t)shape->depth * sizeof(BlockAt));
    e->turns = turns_of(shape, cosine, sine);
    e->sgemm = sgemm; e->short_gemm = short_gemm; e->blas_threads = blas_threads;
    e->parameters = parameters; e->rows = rows; e->threads = threads < rows ? threads : rows;
    e->block = (int)least(most(1, TOKENS / shape->context), (rows + e->threads - 1) / e->threads);
    e->chunk = most(64, LOGITS / shape->vocab);
    e->parts = calloc((size_t)e->threads, sizeof(Workspace));
    for (int i = 0; i < e->threads; i++) open_part(e, e->parts + i, i > 0);
    return e;
}

void gnomon_close(Engine *e) {
    for (int i = 0; i < e->threads; i++) {
        for (int j = 0; j < e->parts[i].owned_count; j++) free(e->parts[i].owned[j]);
        free(e->parts[i].owned);
        free(e->parts[i].blocks);
    }
    free(e->parts); free(e->blocks); free(e->turns); free(e);
}

/* Rows in even parts, one a thread. */
static double work(Engine *e, const float *weights, const unsigned short *rounded, float *gradient, float *nats_each,
                   const long *tokens, int rows, float scale, float z_loss) {
    const int threads = e->threads < rows ? e->threads : rows, each = (rows + threads - 1) / threads;
    Part parts[threads];
    pthread_t ids[threads];
    double nats = 0;
    for (int i = 0; i < threads; i++) {
        const int first = i * each, count = first + each > rows ? rows - first : each;
        Part part = {e, e->parts + i, {weights, rounded}, i ? e->parts[i].gradient : gradient,
                     tokens + (long)first * (e->shape.context + 1), count > 0 ? count : 0, scale, z_loss, 0,
                     nats_each ? nats_each + (long)first * e->shape.context : NULL};
        parts[i] = part;
    }
    int started = 1;
    for (; started < threads && parts[started].rows; started++)
        if (pthread_create(ids + started, NULL, run_part, parts + started)) return NAN;
    run_part(parts);
    for (int i = 1; i < started; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < started; i++) nats += parts[i].nats;
    for (int i = 1; i < started && !nats_each; i++) add(gradient, parts[i].gradient, e->parameters);
    return nats;
}

/* tokens [rows, T+1]. Adds to gradient: scale * d(sum of nats + z_loss * sum of squared log-partitions).
   Returns the sum of nats. rows is at most what gnomon_open was told. rounded: weights in bfloat16, NULL in fp32. */
double gnomon_gradient(Engine *e, const float *weights, const unsigned short *rounded, float *gradient,
                       const long *tokens, int rows, float scale, float z_loss) {
    return work(e, weights, rounded, gradient, NULL, tokens, rows, scale, z_loss);
}

/* Nats of each token of tokens [rows, T+1]: nats [rows, T]. The rest as above. Returns no number when it could not. */
double gnomon_nats(Engine *e, const float *weights, const unsigned short *rounded, float *nats, const long *tokens,
                   int rows) {
    return work(e, weights, rounded, NULL, nats, tokens, rows, 0, 0);
}
