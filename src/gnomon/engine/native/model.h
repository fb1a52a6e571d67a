/* What is kept between calls: packed weights, room for one call's rows, and slots of keys and values. */

typedef struct {
    int vocab, width, depth, heads, kv_heads, head_dim, mlp, context, qk_norm, embedding_norm, kind, rows;
    float eps, branch;
} Shape;

typedef struct { Matrix qkv, out, gate_up, down; float *attention_norm, *mlp_norm, *q_norm, *k_norm; } Layer;

typedef struct {
    Shape shape; /* rows: the most in one call */
    Layer *layers;
    Matrix head;
    float *norm;
    const float *embedding, *turns; /* [V, D]; [context, E / 2, 2]: cosine, sine. The caller keeps both. */
    float *stream, *delta, *normed, *wide, *query, *attended, *gated, *picked, *logits;
    Bytes bytes;
    long wide_stride, delta_stride, vocab_stride;
} Model;

enum Part { QKV, OUT, GATE_UP, DOWN, HEAD, ATTENTION_NORM, MLP_NORM, Q_NORM, K_NORM, NORM };
#define SCORED_AT_ONCE 64 /* rows of logits that scoring keeps */
#define HUGE_PAGE (2l << 20)

INLINE long whole(long n, long unit) { return (n + unit - 1) / unit * unit; }

/* Zeroed memory that costs nothing until it is touched; large pieces begin where a huge page can. */
static void *memory(long bytes) {
    void *p = NULL;
    const long size = whole(bytes, bytes < HUGE_PAGE ? 64 : HUGE_PAGE);
    if (bytes < HUGE_PAGE) {
        if (posix_memalign(&p, 64, (size_t)size)) return NULL;
        return memset(p, 0, (size_t)size);
    }
    char *raw = mmap(NULL, (size_t)(size + HUGE_PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    char *start = (char *)whole((long)raw, HUGE_PAGE), *end = raw + size + HUGE_PAGE;
    if (start > raw) munmap(raw, (size_t)(start - raw));
    if (end > start + size) munmap(start + size, (size_t)(end - start - size));
    return start;
}

static void release(void *p, long bytes) {
    if (!p) return;
    if (bytes < HUGE_PAGE) free(p);
    else munmap(p, (size_t)whole(bytes, HUGE_PAGE));
}

static long bytes_of(const Matrix *m) {
    return m->panels * LANES * (m->kind == F32 ? m->ins * 4l : m->kind == BF16 ? m->ins * 2l : m->padded);
}

static long scale_bytes(const Matrix *m) { return m->kind == I8 ? m->panels * m->padded / GROUP * LANES * 4 : LANES; }

static int open_matrix(Matrix *m, int outs, int ins, int kind) {
    *m = (Matrix){outs, ins, kind, (outs + LANES - 1) / LANES, whole(ins, GROUP), NULL, NULL};
    m->data = memory(bytes_of(m));
    m->scale = memory(scale_bytes(m));
#if defined(MADV_HUGEPAGE) /* a row reads all weights: fewer, larger pages are found faster */
    if (m->data && bytes_of(m) >= HUGE_PAGE) madvise(m->data, (size_t)bytes_of(m), MADV_HUGEPAGE);
#endif
    return m->data && m->scale;
}

static void close_matrix(Matrix *m) {
    release(m->data, bytes_of(m));
    release(m->scale, scale_bytes(m));
}

/* Room for `rows` rows: the sizes in floats, in the order of the pointers in Model from stream on. */
static void sizes_of(const Model *m, long size[9]) {
    const Shape *s = &m->shape;
    const long n = s->rows, D = s->width, E = s->heads * (long)s->head_dim;
    const long sizes[9] = {n * D, n * m->delta_stride, n * D, n * m->wide_stride, n * E, n * E, n * s->mlp, n * D,
                           SCORED_AT_ONCE * m->vocab_stride};
    memcpy(size, sizes, sizeof sizes);
}

static long widest(const Model *m) {
    const Layer *l = m->layers;
    return l->out.padded > l->down.padded ? (l->out.padded > l->qkv.padded ? l->out.padded : l->qkv.padded)
                                          : (l->down.padded > l->qkv.padded ? l->down.padded : l->qkv.padded);
}

void gnomon_close(Model *m) {
    long size[9];
    sizes_of(m, size);
    float **part = &m->stream;
    for (int i = 0; i < 9; i++) release(part[i], size[i] * 4);
    const long row = m->layers ? widest(m) : 0, n = m->shape.rows;
    release(m->bytes.bytes, n * row * 2);
    release(m->bytes.scale, n * row / GROUP * 4);
    release(m->bytes.start, n * row / GROUP * 4);
    for (int i = 0; m->layers && i < m->shape.depth; i++) {
        Layer *l = m->layers + i;
        Matrix *matrices[] = {&l->qkv, &l->out, &l->gate_up, &l->down};
        for (int j = 0; j < 4; j++) close_matrix(matrices[j]);
        free(l->attention_norm); free(l->mlp_norm); free(l->q_norm); free(l->k_norm);
    }
    close_matrix(&m->head);
    free(m->norm); free(m->layers); free(m);
}

/* A model of that shape without weights yet; NULL without memory. */
Model *gnomon_open(const Shape *shape, const float *embedding, const float *turns) {
    Model *m = calloc(1, sizeof(Model));
    if (!m) return NULL;
    m->shape = *shape;
    m->embedding = embedding;
    m->turns = turns;
    const int E = shape->head_dim, D = shape->width, kind = shape->kind;
    const int q = shape->heads * E, qkv = q + 2 * shape->kv_heads * E, gate_up = 2 * shape->mlp;
    m->wide_stride = whole(qkv > gate_up ? qkv : gate_up, LANES);
    m->delta_stride = whole(D, LANES);
    m->vocab_stride = whole(shape->vocab, LANES);
    m->layers = calloc((size_t)shape->depth, sizeof(Layer));
    m->norm = calloc((size_t)D, 4);
    int fine = m->layers && m->norm && open_matrix(&m->head, shape->vocab, D, kind);
    for (int i = 0; fine && i < shape->depth; i++) {
        Layer *l = m->layers + i;
        fine = open_matrix(&l->qkv, qkv, D, kind) && open_matrix(&l->out, D, q, kind)
               && open_matrix(&l->gate_up, gate_up, D, kind) && open_matrix(&l->down, D, shape->mlp, kind)
               && (l->attention_norm = calloc((size_t)D, 4)) && (l->mlp_norm = calloc((size_t)D, 4))
               && (l->q_norm = calloc((size_t)E, 4)) && (l->k_norm = calloc((size_t)E, 4));
    }
    long size[9];
    sizes_of(m, size);
    float **part = &m->stream;
    for (int i = 0; fine && i < 9; i++) fine = (part[i] = memory(size[i] * 4)) != NULL;
    const long row = fine ? widest(m) : 0, n = shape->rows;
    fine = fine && (m->bytes.bytes = memory(n * row * 2)) && (m->bytes.scale = memory(n * row / GROUP * 4))
           && (m->bytes.start = memory(n * row / GROUP * 4));
    if (fine) return m;
    gnomon_close(m);
    return NULL;
}

long gnomon_stride(const Model *m) { return m->vocab_stride; }

/* Outputs first to first + count of a matrix [count, ins], or a gain (count 1). part: enum Part. */
void gnomon_put(Model *m, int part, int layer, int first, int count, const float *values) {
    Layer *l = m->layers + layer;
    Matrix *matrices[] = {&l->qkv, &l->out, &l->gate_up, &l->down, &m->head};
    float *gains[] = {l->attention_norm, l->mlp_norm, l->q_norm, l->k_norm, m->norm};
    if (part > HEAD) {
        const int size = part == Q_NORM || part == K_NORM ? m->shape.head_dim : m->shape.width;
        memcpy(gains[part - ATTENTION_NORM], values, (size_t)size * 4);
        return;
    }
    for (long i = 0; i < count; i++) put_output(matrices[part], first + i, values + i * matrices[part]->ins);
}

void gnomon_close_room(Room *r) {
    const long each = r->layers * r->slots * r->kv_heads * r->capacity * 4;
    release(r->keys, each * r->head_dim);
    release(r->values, each * r->value_dim);
    free(r);
}

/* Slots for keys and values; capacity in whole blocks. Untouched positions take no memory. NULL without memory. */
Room *gnomon_open_room(const Model *m, int slots, int capacity) {
    Room *r = calloc(1, sizeof(Room));
    if (!r) return NULL;
    const Shape *s = &m->shape;
    const long E = s->head_dim;
    *r = (Room){slots, whole(capacity, LANES), s->kv_heads, E, whole(E, LANES), s->depth, NULL, NULL};
    const long each = r->layers * r->slots * r->kv_heads * r->capacity * 4;
    r->keys = memory(each * r->head_dim);
    r->values = memory(each * r->value_dim);
    if (r->keys && r->values) return r;
    gnomon_close_room(r);
    return NULL;
}

/* The first `positions` of one slot, as they are in another. */
void gnomon_copy(const Room *r, int from, int to, int positions) {
    for (long layer = 0; layer < r->layers; layer++)
        for (long head = 0; head < r->kv_heads; head++) {
            const size_t keys = (size_t)(whole(positions, LANES) * r->head_dim) * 4;
            const size_t values = (size_t)(positions * r->value_dim) * 4;
            memcpy(keys_at(r, layer, to, head), keys_at(r, layer, from, head), keys);
            memcpy(values_at(r, layer, to, head), values_at(r, layer, from, head), values);
        }
}
