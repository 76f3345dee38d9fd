/* SPDX-License-Identifier: Apache-2.0 */
/* score.c -- log-likelihoods of a set's responses under a model, line by line. */
#include "base/file.h"
#include "leanpo/train.h"
#include "train/session.h"

#include <stdlib.h>
#include <string.h>

lpo_score_options lpo_score_options_default(void) {
    return (lpo_score_options){.batch_size = 8, .beta = 1};
}

typedef struct scorer {
    const lpo_score_options *o;
    lpo_session session;
    lpo_tape *tape;
    lpo_writer *out;
    lpo_score_result sum;
    int64_t n_pairs;
} scorer;

/* mean over [from, from+n) of logp, in double */
static double mean(const float *logp, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)logp[i];
    return n ? s / (double)n : 0;
}

static json_t *list(const float *logp, int64_t n) {
    json_t *a = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(a, json_real((double)logp[i]));
    return a;
}

/* logps_NAME (sum), rewards_NAME (beta * mean), n_tokens_NAME and, when asked, token_logps_NAME: the last
 * token is eos. */
static void put_side(json_t *line, const char *name, const float *logp, int64_t n,
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

static lpo_status write_line(scorer *sc, const lpo_sample *sm, const float *w, int64_t n_w, const float *l,
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

/* Forward one batch and read the log-probabilities back: chosen and rejected of each sample, in order. */
static lpo_status forward(float **logp, scorer *sc, const lpo_batch *b, lpo_error *err) {
    lpo_clip_input *clips = calloc((size_t)b->n_clips + 1, sizeof *clips);
    lpo_seq_input *seqs = calloc(2 * (size_t)b->n_samples, sizeof *seqs);
    lpo_status s = LPO_OK;
    *logp = NULL;
    if (!clips || !seqs) {
        s = lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
        goto out;
    }
    int32_t n = 0;
    for (int32_t i = 0; i < b->n_clips; i++)
        clips[i] = (lpo_clip_input){b->clips[i].patches, b->clips[i].grid_t, b->clips[i].grid_h,
                                    b->clips[i].grid_w, b->clips[i].second_per_grid};
    for (int32_t i = 0; i < b->n_samples; i++) {
        const lpo_sample *sm = &b->samples[i];
        seqs[n++] = (lpo_seq_input){sm->chosen.ids, (int32_t)sm->chosen.n, sm->n_prompt, sm->clip};
        if (sm->rejected.n)
            seqs[n++] = (lpo_seq_input){sm->rejected.ids, (int32_t)sm->rejected.n, sm->n_prompt, sm->clip};
    }
    lpo_model_batch mb = {clips, seqs, b->n_clips, n};
    lpo_forward_options fo = {0};
    lpo_forward_out fwd;
    lpo_tape_reset(sc->tape);
    s = lpo_model_record(&fwd, sc->tape, sc->session.model, &mb, &fo, err);
    if (s) goto out;
    lpo_tape_keep(sc->tape, fwd.logp);
    s = lpo_tape_plan(sc->tape, err);
    if (!s) s = lpo_tape_run(sc->tape, 0, -1, err);
    if (s) goto out;
    *logp = malloc((size_t)fwd.n_tokens * sizeof **logp);
    s = *logp ? lpo_tape_read(*logp, sc->tape, fwd.logp, err) : lpo_fail(err, LPO_ENOMEM, "out of memory");
out:
    free(seqs);
    free(clips);
    return s;
}

static lpo_status score_batch(scorer *sc, const lpo_batch *b, lpo_error *err) {
    float *logp;
    lpo_status s = forward(&logp, sc, b, err);
    const float *at = logp;
    for (int32_t i = 0; i < b->n_samples && !s; i++) {
        const lpo_sample *sm = &b->samples[i];
        int64_t n_w = (int64_t)sm->chosen.n - sm->n_prompt;
        int64_t n_l = sm->rejected.n ? (int64_t)sm->rejected.n - sm->n_prompt : 0;
        const float *w = at, *l = at + n_w;
        at = l + n_l;
        double r_w = mean(w, n_w), r_l = mean(l, n_l);
        sc->sum.n++;
        sc->sum.mean_logp_chosen += r_w;
        if (n_l) {
            sc->n_pairs++;
            sc->sum.mean_logp_rejected += r_l;
            sc->sum.accuracy += r_w > r_l;
        }
        s = write_line(sc, sm, w, n_w, l, n_l, err);
    }
    free(logp);
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
    lpo_status s =
        lpo_session_open(&sc.session, o->model, o->place, o->dtype, o->chat_template, o->n_threads, err);
    if (s) return s;
    s = lpo_dataset_open(&d, o->data, &dopt, err);
    if (!s) s = lpo_dataset_validate(d, &sc.session.recipe, sc.session.n_threads, progress, user, err);
    if (!s) s = lpo_tape_create(&sc.tape, lpo_model_placement(sc.session.model), err);
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
    lpo_tape_destroy(sc.tape);
    lpo_dataset_close(d);
    lpo_session_close(&sc.session);
    return s;
}
