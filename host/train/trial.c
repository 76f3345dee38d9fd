/* SPDX-License-Identifier: Apache-2.0 */
/* trial.c -- see trial.h. GPUs first: a CPU that is hours slower is then stopped as soon as it has lost, and
 * is not asked at all when what a GPU took would not fit into memory. */
#include "train/trial.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 5 };
static const double ENOUGH_S = 2; /* a candidate is not measured for longer, after its first passes */
static const double LOST = 5;     /* times the best so far: no need to wait for the end */

/* The run's next micro-batch, from a loader of its own. */
typedef struct material {
    lpo_loader *loader;
    lpo_batch *batch;
} material;

static lpo_status material_open(material *m, lpo_run *r, lpo_error *err) {
    lpo_loader_options o = lpo_loader_options_default();
    o.batch_size = (int)r->micro;
    o.seed = r->state.seed;
    o.shuffle = true;
    o.first_step = r->state.step * (r->batch / r->micro);
    o.n_steps = 1;
    o.cache_bytes = (size_t)lpo_train_int(r->o, LPO_TRAIN_cache) << 20;
    lpo_status s = lpo_loader_create(&m->loader, r->data, &r->session.recipe, &o, err);
    return s ? s : lpo_loader_next(&m->batch, m->loader, NULL, err);
}

static void material_close(material *m) {
    if (m->batch) lpo_loader_release(m->loader, m->batch);
    lpo_loader_destroy(m->loader);
}

/* One forward and one backward pass; the coefficients are anyone's, the work is the run's. */
static lpo_status pass(lpo_engine *e, const material *m, bool both, lpo_error *err) {
    lpo_rows rows;
    e->dropout_seed = 1;
    lpo_status s = lpo_engine_forward(&rows, e, m->batch, 0, m->batch->n_samples, both, true, err);
    if (s) return s;
    const int64_t n_w = rows.start_w[rows.n], n_l = rows.start_l[rows.n], n = n_w > n_l ? n_w : n_l;
    double *g = lpo_arena_alloc(e->arena, (size_t)n, sizeof *g);
    if (!g) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    for (int64_t i = 0; i < n; i++) g[i] = -1.0 / (double)n;
    return lpo_engine_backward(e, &rows, g, g, err);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median after a first pass that compiles and allocates. limit_s > 0: *unfinished when a pass took
 * longer. */
static lpo_status measure(lpo_trial *t, lpo_engine *e, const material *m, bool both, double limit_s,
                          lpo_error *err) {
    double seconds[REPEATS];
    int n = 0;
    const double begin = lpo_now_s();
    for (int i = -1; i < REPEATS; i++) {
        const double t0 = lpo_now_s();
        e->until_s = limit_s > 0 ? t0 + limit_s : 0;
        lpo_status s = pass(e, m, both, err);
        const double took = lpo_now_s() - t0;
        if (s == LPO_ECANCELED) {
            t->unfinished = true;
            t->seconds = took;
            return LPO_OK;
        }
        if (s) return s;
        if (i >= 0) seconds[n++] = took;
        if (n && lpo_now_s() - begin > ENOUGH_S) break;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_size);
    t->seconds = seconds[n / 2];
    return LPO_OK;
}

/* Parameters, gradients, optimizer and activations: what a trial holds on its device. */
static double held_bytes(lpo_model *m, const lpo_engine *e) {
    int n_params;
    double bytes = (double)lpo_tape_arena_bytes(e->tape);
    lpo_param *const *params = lpo_model_params(m, &n_params);
    for (int i = 0; i < n_params; i++) {
        const lpo_param *p = params[i];
        double n = 1;
        for (int k = 0; k < p->ndim; k++) n *= (double)p->shape[k];
        bytes += n * (double)lpo_dtype_bytes(p->dtype);
        if (p->trainable) bytes += n * (p->dtype == LPO_BF16 ? 16 : 12); /* gradient, moments, master */
    }
    return bytes;
}

/* Everything as the run will have it. held: bytes, when it went well. */
static lpo_status on_model(lpo_trial *t, double *held, lpo_run *r, lpo_model *m, const material *batch,
                           double limit_s, lpo_error *err) {
    lpo_engine e = {0};
    lpo_optimizer *optimizer = NULL;
    lpo_status s = lpo_run_optimizer(&optimizer, r, m, err);
    if (!s) s = lpo_engine_open(&e, m, lpo_train_bool(r->o, LPO_TRAIN_gradient_checkpointing), err);
    e.separate = !lpo_train_bool(r->o, LPO_TRAIN_shared_prefix);
    if (!s) s = measure(t, &e, batch, r->pairs, limit_s, err);
    if (!s) *held = held_bytes(m, &e);
    lpo_engine_close(&e);
    lpo_optimizer_destroy(optimizer);
    return s;
}

/* Bytes this machine could still give, 0 where it does not tell. */
static double free_bytes(void) {
    char line[128];
    long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && !kib && fgets(line, sizeof line, f)) sscanf(line, "MemAvailable: %lld", &kib);
    if (f) fclose(f);
    return 1024.0 * (double)kib;
}

static lpo_status on_cpu(lpo_trial *t, double held, double best_s, lpo_run *r, const material *batch,
                         lpo_error *err) {
    const double there = free_bytes();
    double unused;
    if (there > 0 && held > there)
        return lpo_fail(err, LPO_ENOMEM, "%.1f GiB are needed and %.1f free", held / 0x1p30, there / 0x1p30);
    return on_model(t, &unused, r, r->session.model, batch,
                    best_s > 0 && LOST * best_s < 1 ? 1 : LOST * best_s, err);
}

lpo_status lpo_trials(lpo_run *r, lpo_error *err) {
    lpo_choice *c = &r->choice;
    material batch = {0};
    lpo_model *best = NULL; /* on trial[best_at]'s device */
    int best_at = 0;
    double held = 0;
    lpo_status s = material_open(&batch, r, err);
    for (int i = 1; i <= c->n && !s; i++) {
        lpo_trial *t = &c->trial[i % c->n]; /* the CPU last */
        lpo_model *m = NULL;
        lpo_error why;
        if (r->progress && r->progress(r->user, "trying devices", i - 1, c->n))
            s = lpo_fail(err, LPO_ECANCELED, "stopped before the first step");
        if (s || t->why[0]) continue;
        lpo_status tried = i == c->n
                               ? on_cpu(t, held, best_at ? c->trial[best_at].seconds : 0, r, &batch, &why)
                               : lpo_run_model(&m, r, t->device, &why);
        if (!tried && m) tried = on_model(t, &held, r, m, &batch, 0, &why);
        if (tried) snprintf(t->why, sizeof t->why, "%s", why.msg);
        if (!tried && m && (!best_at || t->seconds < c->trial[best_at].seconds)) {
            lpo_model_destroy(best);
            best = m;
            best_at = i;
            m = NULL;
        }
        lpo_model_destroy(m);
    }
    if (!s) {
        lpo_choice_make(c);
        lpo_choice_say(c, false);
        strcpy(r->place.device[LPO_STAGE_backbone], c->device);
        if (best && !strcmp(c->device, c->trial[best_at].device)) {
            lpo_session_move(&r->session, best);
            best = NULL;
        }
    }
    lpo_model_destroy(best);
    material_close(&batch);
    return s;
}
