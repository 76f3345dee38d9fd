/* SPDX-License-Identifier: Apache-2.0 */
/* embed.c -- gather rows of a table, and the scatter-add that is its gradient. An id outside the table is
 * refused. */
#include "kernels/ref/ref.h"

static bool ids_ok(const lpo_karg *ids, int64_t V) {
    if (!ref_i32(ids)) return false;
    const int32_t *id = ids->data;
    for (int64_t t = 0; t < ids->shape[0]; t++)
        if (id[t] < 0 || id[t] >= V) return false;
    return true;
}

int lpo_ref_embed(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *table = &c->arg[1], *ids = &c->arg[2];
    const int64_t T = ids->shape[0], V = table->shape[0], H = table->shape[1];
    if (!ref_real(y) || !ref_real(table) || !ids_ok(ids, V) || !ref_is(table, V, H) || !ref_is(y, T, H))
        return -1;
    const int32_t *id = ids->data;
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < H; h++) ref_put(y, t * H + h, ref_get(table, id[t] * H + h));
    return 0;
}

int lpo_ref_embed_bwd(const lpo_kcall *c) {
    const lpo_karg *dtable = &c->arg[0], *dy = &c->arg[1], *ids = &c->arg[2];
    const int64_t T = ids->shape[0], V = dtable->shape[0], H = dtable->shape[1];
    if (!ref_real(dtable) || !ref_real(dy) || !ids_ok(ids, V) || !ref_is(dtable, V, H) || !ref_is(dy, T, H))
        return -1;
    const int32_t *id = ids->data;
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < H; h++)
            ref_put(dtable, id[t] * H + h, ref_get(dtable, id[t] * H + h) + ref_get(dy, t * H + h));
    return 0;
}
