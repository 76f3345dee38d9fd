/* SPDX-License-Identifier: Apache-2.0 */
/* score.c -- log-likelihoods of a set's responses under a model, line by line. */
#include "base/file.h"
#include "leanpo/train.h"
#include "train/engine.h"
#include "train/session.h"

#include <stdlib.h>
#include <string.h>

lpo_score_options lpo_score_options_default(void) {
    return (lpo_score_options){.batch_size = 8, .beta = 1};
}

typedef struct scorer {
    const lpo_score_options *o;
    lpo_session session;
    lpo_engine engine;
    lpo_writer *out;
    lpo_score_result sum;
    int64_t n_pairs;
} scorer;

/* mean over [from, from+n) of logp, in double */
static double mean(const double *logp, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += logp[i];
    return n ? s / (double)n : 0;
}

static json_t *list(const double *logp, int64_t n) {
    json_t *a = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(a, json_real(logp[i]));
    return a;
}

/* logps_NAME (sum), rewards_NAME (beta * mean), n_tokens_NAME and, when asked, token_logps_NAME: the last
 * token is eos. */
static void put_side(json_t *line, const char *name, const double *logp, int64_t n,
                     const lpo_score_options *o) {
    char key[64];
    double m = mean(logp, n);
    snprintf(key, sizeof key, "logps_%s", name);
    json_object_set_new(line, key, json_real(m * (double)n));
    snprintf(key, sizeof key, "rewards_%s", name);
    json_object_set_new(line, key, json_real(o->beta * m));
    snprintf(key, sizeof key, "n_tokens_%s", name);
    json_object_set_new(line, key, json_integer(n));
    if (!o->token_logps) return;
    snprintf(key, sizeof key, "token_logps_%s", name);
    json_object_set_new(line, key, list(logp, n));
}

static lpo_status write_line(scorer *sc, const lpo_sample *sm, const double *w, int64_t n_w, const double *l,
                             int64_t n_l, lpo_error *err) {
    json_t *line = json_copy((json_t *)(uintptr_t)sm->record->json);
    if (!line) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    put_side(line, sm->record->rejected ? "chosen" : "answer", w, n_w, sc->o);
    if (sm->record->rejected) put_side(line, "rejected", l, n_l, sc->o);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    lpo_status s =
        text ? lpo_writer_printf(sc->out, err, "%s\n", text) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    free(text);
    json_decref(line);
    return s;
}

/* Samples first..last of the batch: all pairs, or all questions. */
static lpo_status score_run(scorer *sc, const lpo_batch *b, int32_t first, int32_t last, lpo_error *err) {
    const bool pairs = b->samples[first].rejected.n > 0;
    lpo_rows r;
    lpo_status s = lpo_engine_forward(&r, &sc->engine, b, first, last - first, pairs, false, err);
    for (int32_t i = 0; i < r.n && !s; i++) {
        const double *w = r.t_w + r.start_w[i], *l = r.t_l + r.start_l[i];
        const int64_t n_w = r.start_w[i + 1] - r.start_w[i], n_l = r.start_l[i + 1] - r.start_l[i];
        const double r_w = mean(w, n_w), r_l = mean(l, n_l);
        sc->sum.n++;
        sc->sum.mean_logp_chosen += r_w;
        if (pairs) {
            sc->n_pairs++;
            sc->sum.mean_logp_rejected += r_l;
            sc->sum.accuracy += r_w > r_l;
        }
        s = write_line(sc, &r.samples[i], w, n_w, l, n_l, err);
    }
    return s;
}

static lpo_status score_batch(scorer *sc, const lpo_batch *b, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int32_t first = 0, last; first < b->n_samples && !s; first = last) {
        for (last = first + 1; last < b->n_samples; last++)
            if ((b->samples[last].rejected.n > 0) != (b->samples[first].rejected.n > 0)) break;
        s = score_run(sc, b, first, last, err);
    }
    return s;
}

static lpo_status score_all(scorer *sc, lpo_dataset *d, lpo_progress_fn *progress, void *user,
                            lpo_error *err) {
    lpo_loader_options lo = lpo_loader_options_default();
    lo.batch_size = sc->o->batch_size;
    lpo_loader *loader;
    lpo_status s = lpo_loader_create(&loader, d, &sc->session.recipe, &lo, err);
    if (s) return s;
    lpo_batch *b;
    while (!(s = lpo_loader_next(&b, loader, NULL, err))) {
        s = score_batch(sc, b, err);
        lpo_loader_release(loader, b);
        if (!s && progress && progress(user, "scoring", sc->sum.n, lpo_dataset_count(d)))
            s = lpo_fail(err, LPO_ECANCELED, "interrupted");
        if (s) break;
    }
    lpo_loader_destroy(loader);
    return s == LPO_EEND ? LPO_OK : s;
}

lpo_status lpo_score(lpo_score_result *out, const lpo_score_options *o, lpo_progress_fn *progress, void *user,
                     lpo_error *err) {
    memset(out, 0, sizeof *out);
    if (!o->data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    if (!o->out) return lpo_fail(err, LPO_EINVAL, "no output file given (--out F.jsonl)");
    scorer sc = {.o = o};
    lpo_dataset *d = NULL;
    lpo_dataset_options dopt = lpo_dataset_options_default();
    dopt.limit = o->limit;
    lpo_status s = lpo_session_open(&sc.session, o->model, o->adapter, o->place, o->dtype, o->chat_template,
                                    &o->clips, o->n_threads, err);
    if (s) return s;
    s = lpo_dataset_open(&d, o->data, &dopt, err);
    if (!s) s = lpo_dataset_validate(d, &sc.session.recipe, sc.session.n_threads, progress, user, err);
    if (!s) s = lpo_engine_open(&sc.engine, sc.session.model, false, err);
    if (!s) s = lpo_writer_open(&sc.out, o->out, err);
    if (!s) {
        s = score_all(&sc, d, progress, user, err);
        if (s)
            lpo_writer_abort(sc.out);
        else
            s = lpo_writer_commit(sc.out, err);
    }
    if (!s) {
        *out = sc.sum;
        out->n_bad = lpo_dataset_bad(d);
        out->mean_logp_chosen /= (double)sc.sum.n;
        if (sc.n_pairs) {
            out->mean_logp_rejected /= (double)sc.n_pairs;
            out->accuracy /= (double)sc.n_pairs;
        }
    }
    lpo_engine_close(&sc.engine);
    lpo_dataset_close(d);
    lpo_session_close(&sc.session);
    return s;
}
