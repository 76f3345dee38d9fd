/* SPDX-License-Identifier: Apache-2.0 */
/* lora.c -- adapters attached, recorded, merged: see lora.h. */
#include "model/lora_parts.h"

#include "base/rng.h"
#include "tensor/dtype.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANK = 65536 };

static const lpo_driver *driver_of(const lpo_model *m) {
    return lpo_device_driver(m->devices->placement.device[0]);
}

const lpo_lora_options *lpo_lora_of(const lpo_model *m) {
    return m->lora ? &m->lora->o : NULL;
}

void lpo_lora_stem(char out[256], const lpo_part *p) {
    const size_t n = strlen(p->name), tail = strlen(".weight");
    const size_t len = n - tail < 255 ? n - tail : 255;
    memcpy(out, p->name, len);
    out[len] = 0;
}

lpo_status lpo_lora_each_part(lpo_model *m, lpo_lora_part_fn *fn, void *user, lpo_error *err) {
    uint64_t number = 0;
    lpo_status st = LPO_OK;
    for (int i = 0; i < m->layout.n_slots && !st; i++) {
        lpo_slot *s = &m->layout.slots[i];
        if (s->where != LPO_WHERE_TEXT || s->p.ndim != 2 || &s->p == m->layout.embed_w) continue;
        for (int k = 0; k < s->n_parts && !st; k++) st = fn(user, s, &s->part[k], number++, err);
    }
    return st;
}

/* ---- life ---- */

typedef struct maker {
    lpo_model *m;
    lpo_lora *l;
    const bool *chosen; /* NULL: only count */
    int n;
} maker;

static lpo_status make_pair(void *user, lpo_slot *s, const lpo_part *p, uint64_t number, lpo_error *err) {
    maker *k = user;
    if (!k->chosen[number]) return LPO_OK;
    lpo_adapter *ad = &k->l->adapters[k->l->n++];
    const int32_t dtype = k->m->dtype;
    char stem[256];
    lpo_lora_stem(stem, p);
    *ad = (lpo_adapter){.slot = s, .part = p, .number = number};
    ad->a = (lpo_param){.name = lpo_arena_printf(k->l->arena, "%s.lora_A", stem),
                        .dtype = dtype,
                        .ndim = 2,
                        .shape = {k->l->o.r, s->p.shape[1]}};
    ad->b = (lpo_param){.name = lpo_arena_printf(k->l->arena, "%s.lora_B", stem),
                        .dtype = dtype,
                        .ndim = 2,
                        .shape = {p->rows, k->l->o.r}};
    if (!ad->a.name || !ad->b.name) return lpo_fail(err, LPO_ENOMEM, "no memory for adapters");
    const size_t size = lpo_dtype_bytes(dtype), r = (size_t)k->l->o.r;
    lpo_device *d = k->m->devices->placement.device[0];
    lpo_status st = driver_of(k->m)->alloc(&ad->a.data, d, r * (size_t)s->p.shape[1] * size, err);
    if (!st) st = driver_of(k->m)->alloc(&ad->b.data, d, r * (size_t)p->rows * size, err);
    s->adapter[p - s->part] = ad;
    return st ? lpo_fail_in(err, st, "adapters of %s", stem) : LPO_OK;
}

static lpo_status check_options(const lpo_lora_options *o, lpo_error *err) {
    if (o->r < 1 || o->r > MAX_RANK)
        return lpo_fail(err, LPO_EINVAL, "LoRA: a rank of %d, expected 1 to %d", o->r, MAX_RANK);
    if (!(o->alpha > 0 && o->alpha < 1e9) || !(o->dropout >= 0 && o->dropout < 1))
        return lpo_fail(err, LPO_EINVAL, "LoRA: alpha %g must be positive and dropout %g in [0, 1)", o->alpha,
                        o->dropout);
    return LPO_OK;
}

lpo_status lpo_lora_create(lpo_model *m, const lpo_lora_options *o, const bool *chosen, lpo_error *err) {
    lpo_status st = check_options(o, err);
    if (!st && m->lora) st = lpo_fail(err, LPO_EINVAL, "LoRA: the model has adapters already");
    if (st) return st;
    const size_t most = 3 * (size_t)m->layout.n_slots;
    lpo_lora *l = m->lora = calloc(1, sizeof *l);
    if (!l || !(l->arena = lpo_arena_create(1 << 16)) ||
        !(l->adapters = lpo_arena_alloc(l->arena, most, sizeof *l->adapters)) ||
        !(m->params = lpo_arena_alloc(l->arena, (size_t)m->layout.n_slots + 2 * most, sizeof *m->params)))
        st = lpo_fail(err, LPO_ENOMEM, "no memory for adapters");
    if (!st) {
        l->o = *o;
        l->o.targets = NULL;
        l->scale = o->alpha / (o->rslora ? sqrt((double)o->r) : (double)o->r);
        st = lpo_lora_each_part(m, make_pair, &(maker){.m = m, .l = l, .chosen = chosen}, err);
    }
    if (st) {
        lpo_lora_destroy(m);
        return st;
    }
    m->n_params = 0;
    for (int i = 0; i < m->layout.n_slots; i++) m->params[m->n_params++] = &m->layout.slots[i].p;
    for (int i = 0; i < l->n; i++) {
        m->params[m->n_params++] = &l->adapters[i].a;
        m->params[m->n_params++] = &l->adapters[i].b;
    }
    return LPO_OK;
}

void lpo_lora_destroy(lpo_model *m) {
    lpo_lora *l = m->lora;
    if (!l) return;
    for (int i = 0; i < l->n; i++) {
        const lpo_adapter *ad = &l->adapters[i];
        driver_of(m)->release(ad->a.data);
        driver_of(m)->release(ad->b.data);
        ad->slot->adapter[ad->part - ad->slot->part] = NULL;
    }
    lpo_arena_destroy(l->arena);
    free(l);
    m->lora = NULL;
    m->params = m->own_params;
    m->n_params = m->layout.n_slots;
}

/* ---- new ones ---- */

typedef struct chooser {
    const char *targets;
    bool *chosen;
    bool *used; /* entry k of targets chose something */
} chooser;

static bool names(const char *entry, const char *stem) {
    const size_t n = strlen(stem), k = strlen(entry);
    if (strpbrk(entry, "*?[")) return !fnmatch(entry, stem, 0);
    return k <= n && !strcmp(stem + n - k, entry) && (k == n || stem[n - k - 1] == '.');
}

/* Entry `k` of a comma list; false behind the last. */
static bool entry_at(char out[256], const char *list, int k) {
    for (; k > 0 && *list; k--) {
        list += strcspn(list, ",");
        list += *list == ',';
    }
    const size_t n = strcspn(list, ",");
    if (!n || n > 255) return false;
    memcpy(out, list, n);
    out[n] = 0;
    return true;
}

static lpo_status choose(void *user, lpo_slot *s, const lpo_part *p, uint64_t number, lpo_error *err) {
    (void)s;
    (void)err;
    chooser *c = user;
    char stem[256], entry[256];
    lpo_lora_stem(stem, p);
    if (!c->targets || !*c->targets) c->chosen[number] = true;
    for (int k = 0; c->targets && k < 256 && entry_at(entry, c->targets, k); k++)
        if (names(entry, stem)) c->chosen[number] = c->used[k] = true;
    return LPO_OK;
}

/* Uniform in +-1/sqrt(in): PyTorch's kaiming_uniform with a = sqrt 5, which PEFT starts A with. */
static lpo_status draw(lpo_model *m, const lpo_adapter *ad, uint64_t seed, lpo_error *err) {
    const int64_t n_a = ad->a.shape[0] * ad->a.shape[1], n_b = ad->b.shape[0] * ad->b.shape[1];
    const size_t size = lpo_dtype_bytes(m->dtype), most = (size_t)(n_a > n_b ? n_a : n_b);
    double *x = calloc(most, sizeof *x);
    void *bytes = calloc(most, size);
    const double bound = 1 / sqrt((double)ad->a.shape[1]);
    lpo_rng rng = lpo_rng_init(seed, ad->number);
    lpo_status st = x && bytes ? driver_of(m)->upload(ad->b.data, 0, bytes, (size_t)n_b * size, err)
                               : lpo_fail(err, LPO_ENOMEM, "no memory for adapters");
    for (int64_t i = 0; i < n_a && !st; i++) x[i] = bound * (2 * lpo_rng_uniform(&rng) - 1);
    if (!st) st = lpo_dtype_convert(bytes, m->dtype, x, LPO_F64, n_a, err);
    if (!st) st = driver_of(m)->upload(ad->a.data, 0, bytes, (size_t)n_a * size, err);
    free(bytes);
    free(x);
    return st;
}

lpo_status lpo_lora_attach(lpo_model *m, const lpo_lora_options *o, uint64_t seed, lpo_error *err) {
    bool used[256] = {false};
    char entry[256];
    chooser c = {o->targets, calloc(3 * (size_t)m->layout.n_slots, sizeof(bool)), used};
    if (!c.chosen) return lpo_fail(err, LPO_ENOMEM, "no memory for adapters");
    lpo_status st = lpo_lora_each_part(m, choose, &c, err);
    for (int k = 0; !st && o->targets && k < 256 && entry_at(entry, o->targets, k); k++)
        if (!used[k])
            st = lpo_fail(err, LPO_EINVAL,
                          "LoRA: no Linear of the decoder is called \"%s\" (q_proj, k_proj, v_proj, o_proj, "
                          "gate_proj, up_proj, down_proj, or a pattern such as layers.3.*)",
                          entry);
    if (!st) st = lpo_lora_create(m, o, c.chosen, err);
    free(c.chosen);
    for (int i = 0; !st && i < m->lora->n; i++) st = draw(m, &m->lora->adapters[i], seed, err);
    if (st) lpo_lora_destroy(m);
    return st;
}

/* ---- recording ---- */

void lpo_lora_begin(lpo_model *m) {
    if (m->lora) m->lora->n_tables = 0;
}

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Entry (t, j) of the table is the chunk of row t of b that is number j there, else that of a, else nothing.
 */
static bool fill_table(lpo_tape *t, const lpo_lora *l, lpo_lora_table *k) {
    const int64_t n = k->rows * k->chunks, shape[2] = {n, 1};
    int32_t *idx = malloc((size_t)n * sizeof *idx + 1);
    float *w = malloc((size_t)n * sizeof *w + 1);
    for (int64_t i = 0; idx && w && i < n; i++) {
        const int64_t row = i / k->chunks, in_a = i % k->chunks - k->first_a,
                      in_b = i % k->chunks - k->first_b;
        idx[i] = in_b >= 0 && in_b < k->n_b   ? (int32_t)(k->rows * k->n_a + row * k->n_b + in_b)
                 : in_a >= 0 && in_a < k->n_a ? (int32_t)(row * k->n_a + in_a)
                                              : -1;
        w[i] = (float)l->scale;
    }
    const bool ok = idx && w;
    if (ok) {
        k->idx = lpo_tape_input(t, LPO_I32, 2, shape, idx);
        k->w = k->scaled ? lpo_tape_input(t, LPO_F32, 2, shape, w) : LPO_NONE;
    }
    free(idx);
    free(w);
    return ok;
}

/* a's chunks and b's (or none) as rows of `chunks` of them. */
static lpo_val mix(lpo_tape *t, lpo_lora *l, lpo_val a, lpo_val b, lpo_lora_table k) {
    int i = 0;
    for (; i < l->n_tables; i++) {
        const lpo_lora_table *h = &l->tables[i];
        if (h->rows == k.rows && h->chunks == k.chunks && h->first_a == k.first_a && h->n_a == k.n_a &&
            h->first_b == k.first_b && h->n_b == k.n_b && h->scaled == k.scaled)
            break;
    }
    if (i == LPO_LORA_TABLES) i = l->n_tables = 0;
    if (i == l->n_tables) {
        l->tables[i] = k;
        if (!fill_table(t, l, &l->tables[i])) return LPO_NONE;
        l->n_tables++;
    }
    return lpo_tape_rowmix(t, a, b, l->tables[i].idx, l->tables[i].w);
}

static lpo_val chunks_of(lpo_tape *t, lpo_val x, int64_t rows, int64_t chunk) {
    return lpo_tape_reshape(t, x, 2, (int64_t[]){rows, chunk});
}

/* scale * (dropout(x) A^T) B^T */
static lpo_val product(lpo_tape *t, lpo_lora *l, lpo_adapter *ad, lpo_val x, int64_t T) {
    if (l->dropout_seed && l->o.dropout > 0) {
        lpo_rng rng = lpo_rng_init(l->dropout_seed, ad->number);
        x = lpo_tape_dropout(t, x, l->o.dropout, lpo_rng_u64(&rng));
    }
    x = lpo_tape_linear(t, x, lpo_tape_param(t, &ad->a), LPO_NONE);
    if (l->scale != 1)
        x = mix(t, l, x, LPO_NONE, (lpo_lora_table){.rows = T, .chunks = 1, .n_a = 1, .scaled = true});
    return lpo_tape_linear(t, x, lpo_tape_param(t, &ad->b), LPO_NONE);
}

/* The parts' products side by side, zero where one has no adapter, are added in one go: the sum's gradient is
 * its terms', not a copy. */
lpo_val lpo_lora_add(lpo_tape *t, lpo_model *m, lpo_val x, lpo_val y, const lpo_param *w) {
    const lpo_slot *s = (const lpo_slot *)w; /* its first member */
    lpo_lora *l = m->lora;
    const int64_t N = s->p.shape[0];
    int64_t T, c = N;
    lpo_val sum = LPO_NONE;
    lpo_lora_table k = {.n_a = 0};
    if (!l || !(s->adapter[0] || s->adapter[1] || s->adapter[2]) || lpo_val_dim(t, x, 0, &T)) return y;
    for (int i = 0; i < s->n_parts; i++) c = common_divisor(c, s->part[i].rows);
    for (int i = 0; i < s->n_parts; i++) {
        if (!s->adapter[i]) continue;
        lpo_val delta = product(t, l, s->adapter[i], x, T);
        const int64_t first = s->part[i].row / c, n = s->part[i].rows / c;
        delta = chunks_of(t, delta, T * n, c);
        if (sum == LPO_NONE) { /* placed together with the next */
            sum = delta;
            k = (lpo_lora_table){.rows = T, .chunks = N / c, .first_a = first, .n_a = n};
            continue;
        }
        k.first_b = first;
        k.n_b = n;
        sum = mix(t, l, sum, delta, k);
        k = (lpo_lora_table){.rows = T, .chunks = N / c, .n_a = N / c};
    }
    if (k.n_a < N / c) sum = mix(t, l, sum, LPO_NONE, k);
    return lpo_tape_add(t, y, lpo_tape_reshape(t, sum, 2, (int64_t[]){T, N}));
}

/* ---- merging ---- */

/* n values of buffer from element `first` on, as doubles. */
static lpo_status fetch(double *out, void *raw, const lpo_model *m, lpo_buffer *b, int64_t first, int64_t n,
                        lpo_error *err) {
    const size_t size = lpo_dtype_bytes(m->dtype);
    lpo_status st = driver_of(m)->download(raw, b, (size_t)first * size, (size_t)n * size, err);
    return st ? st : lpo_dtype_convert(out, LPO_F64, raw, m->dtype, n, err);
}

static lpo_status merge_pair(lpo_model *m, const lpo_adapter *ad, lpo_error *err) {
    enum { ROWS = 64 };
    const int64_t r = ad->a.shape[0], K = ad->a.shape[1], N = ad->b.shape[0];
    const size_t size = lpo_dtype_bytes(m->dtype);
    double *a = malloc((size_t)(r * K) * sizeof *a), *b = malloc((size_t)(N * r) * sizeof *b),
           *w = malloc((size_t)(ROWS * K) * sizeof *w);
    const int64_t most = r * K > N * r ? r * K : N * r;
    void *raw = malloc((size_t)(most > ROWS * K ? most : ROWS * K) * sizeof(double));
    lpo_status st = a && b && w && raw ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory to merge an adapter");
    if (!st) st = fetch(a, raw, m, ad->a.data, 0, r * K, err);
    if (!st) st = fetch(b, raw, m, ad->b.data, 0, N * r, err);
    for (int64_t i = 0; i < N && !st; i += ROWS) {
        const int64_t rows = N - i < ROWS ? N - i : ROWS, first = (ad->part->row + i) * K;
        st = fetch(w, raw, m, ad->slot->p.data, first, rows * K, err);
        for (int64_t n = 0; n < rows && !st; n++)
            for (int64_t j = 0; j < r; j++) {
                const double f = m->lora->scale * b[(i + n) * r + j];
                for (int64_t k = 0; k < K; k++) w[n * K + k] += f * a[j * K + k];
            }
        if (!st) st = lpo_dtype_convert(raw, m->dtype, w, LPO_F64, rows * K, err);
        if (!st)
            st = driver_of(m)->upload(ad->slot->p.data, (size_t)first * size, raw, (size_t)(rows * K) * size,
                                      err);
    }
    free(raw);
    free(w);
    free(b);
    free(a);
    return st;
}

lpo_status lpo_lora_merge(lpo_model *m, lpo_error *err) {
    if (!m->lora) return lpo_fail(err, LPO_EINVAL, "LoRA: the model has no adapters to merge");
    lpo_status st = LPO_OK;
    for (int i = 0; i < m->lora->n && !st; i++) st = merge_pair(m, &m->lora->adapters[i], err);
    if (!st) lpo_lora_destroy(m);
    return st;
}
