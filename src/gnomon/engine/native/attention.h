/* Keys and values in slots, and one query's look at them.

   Keys lie in blocks of 16 positions, [block][E][16], so that a score is one chain of sums over the head's coordinates,
   for 16 positions at once; values lie a position a row, [position][E rounded up to 16]. A query at position t sees
   positions 0 to t of its own slot, in their order, and nothing that depends on its neighbours. */

typedef struct { long slots, capacity, kv_heads, head_dim, value_dim, layers; float *keys, *values; } Room;

INLINE float *keys_at(const Room *r, long layer, long slot, long head) {
    return r->keys + ((layer * r->slots + slot) * r->kv_heads + head) * r->capacity * r->head_dim;
}

INLINE float *values_at(const Room *r, long layer, long slot, long head) {
    return r->values + ((layer * r->slots + slot) * r->kv_heads + head) * r->capacity * r->value_dim;
}

INLINE void keep(const Room *r, long layer, long slot, long head, long position, const float *key, const float *value) {
    float *k = keys_at(r, layer, slot, head) + position / LANES * LANES * r->head_dim + position % LANES;
    for (long c = 0; c < r->head_dim; c++) k[c * LANES] = key[c];
    memcpy(values_at(r, layer, slot, head) + position * r->value_dim, value, (size_t)r->head_dim * 4);
}

INLINE void score_blocks(const float *query, const float *keys, float *out, long E, const int blocks) {
    v16 sum[4];
    UNROLL for (int b = 0; b < blocks; b++) sum[b] = (v16){0};
    for (long c = 0; c < E; c++)
        UNROLL for (int b = 0; b < blocks; b++) sum[b] += query[c] * load16(keys + (b * E + c) * LANES);
    UNROLL for (int b = 0; b < blocks; b++) store16(out + b * LANES, sum[b]);
}

INLINE void mix(const float *weight, const float *values, long seen, long stride, float *out, const int parts) {
    v16 sum[4];
    UNROLL for (int c = 0; c < parts; c++) sum[c] = (v16){0};
    for (long j = 0; j < seen; j++)
        UNROLL for (int c = 0; c < parts; c++) sum[c] += weight[j] * load16(values + j * stride + c * LANES);
    UNROLL for (int c = 0; c < parts; c++) store16(out + c * LANES, sum[c]);
}

/* One head's query, already scaled, at `position`; out: value_dim floats; weight: room for capacity floats. */
static void attend(const Room *r, long layer, long slot, long head, long position, const float *query, float *out,
                   float *weight) {
    const float *keys = keys_at(r, layer, slot, head), *values = values_at(r, layer, slot, head);
    const long E = r->head_dim, seen = position + 1, blocks = (seen + LANES - 1) / LANES;
    long b = 0;
    for (; b + 4 <= blocks; b += 4) score_blocks(query, keys + b * E * LANES, weight + b * LANES, E, 4);
    for (; b < blocks; b++) score_blocks(query, keys + b * E * LANES, weight + b * LANES, E, 1);
    float top = weight[0], sum = 0;
    SIMD_MAX(top) for (long j = 0; j < seen; j++) top = weight[j] > top ? weight[j] : top;
    SIMD for (long j = 0; j < seen; j++) weight[j] = exponential(weight[j] - top);
    SIMD_SUM(sum) for (long j = 0; j < seen; j++) sum += weight[j];
    const float share = 1.0f / sum;
    SIMD for (long j = 0; j < seen; j++) weight[j] *= share;
    const long parts = r->value_dim / LANES;
    long c = 0;
    for (; c + 4 <= parts; c += 4) mix(weight, values + c * LANES, seen, r->value_dim, out + c * LANES, 4);
    for (; c < parts; c++) mix(weight, values + c * LANES, seen, r->value_dim, out + c * LANES, 1);
}
