/* SPDX-License-Identifier: Apache-2.0 */
/* eval.c -- answers to a held-out question file, compared with the truth. An answer counts as right when its
 * content words are the truth's (align/trust.h): which colour belongs to which object is not seen. */
#include "align/trust.h"
#include "base/clock.h"
#include "base/file.h"
#include "leanpo/train.h"
#include "train/engine.h"
#include "train/session.h"

#include <stdlib.h>
#include <string.h>

lpo_eval_options lpo_eval_options_default(void) {
    return (lpo_eval_options){.max_tokens = 32, .batch_size = 128};
}

typedef struct evaluation {
    const lpo_eval_options *o;
    lpo_session session;
    lpo_dataset *data;
    lpo_writer *out;
    lpo_eval_result r;
    int64_t n_tokens;
} evaluation;

static void count(evaluation *e, const lpo_record *rec, const char *answer) {
    double right = lpo_trust_content_equal(answer, rec->chosen),
           f1 = lpo_trust_content_f1(answer, rec->chosen);
    e->r.n++;
    e->r.accuracy += right;
    e->r.content_f1 += f1;
    e->r.token_f1 += lpo_trust_token_f1(answer, rec->chosen);
    e->r.exact_match += lpo_trust_exact(answer, rec->chosen);
    const char *type = json_string_value(json_object_get(rec->json, "type"));
    if (!type) return;
    int i = 0;
    while (i < e->r.n_types && strncmp(e->r.type[i].name, type, sizeof e->r.type[i].name - 1)) i++;
    if (i == e->r.n_types) {
        if (i == LPO_EVAL_MAX_TYPES) return;
        snprintf(e->r.type[i].name, sizeof e->r.type[i].name, "%s", type);
        e->r.n_types++;
    }
    e->r.type[i].n++;
    e->r.type[i].accuracy += right;
    e->r.type[i].content_f1 += f1;
}

static lpo_status write_line(evaluation *e, const lpo_record *rec, const char *answer, lpo_error *err) {
    if (!e->out) return LPO_OK;
    json_t *line = json_copy((json_t *)(uintptr_t)rec->json);
    json_object_set_new(line, "prediction", json_string(answer));
    json_object_set_new(line, "content_f1", json_real(lpo_trust_content_f1(answer, rec->chosen)));
    json_object_set_new(line, "correct", json_boolean(lpo_trust_content_equal(answer, rec->chosen)));
    char *text = json_dumps(line, JSON_COMPACT);
    lpo_status s =
        text ? lpo_writer_printf(e->out, err, "%s\n", text) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    free(text);
    json_decref(line);
    return s;
}

/* Records [first, first+n): one generate call. */
static lpo_status answer_some(evaluation *e, int64_t first, int n, lpo_error *err) {
    lpo_ask *asks = calloc((size_t)n, sizeof *asks);
    char **answers = calloc((size_t)n, sizeof *answers);
    lpo_gen_seq *seqs = calloc((size_t)n, sizeof *seqs);
    lpo_status s =
        asks && answers && seqs ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for %d questions", n);
    lpo_recipe *r = &e->session.recipe;
    for (int i = 0; i < n && !s; i++) {
        const lpo_record *rec = lpo_dataset_at(e->data, first + i);
        asks[i] = (lpo_ask){.question = rec->prompt, .stream = (uint64_t)(first + i)};
        s = lpo_frame_cache_get(&asks[i].clip, r->cache, rec->video, &r->prep, NULL, err);
    }
    lpo_gen_options g = lpo_gen_options_default();
    g.max_tokens = e->o->max_tokens;
    g.temperature = e->o->temperature;
    g.seed = e->o->seed;
    if (!s) s = lpo_session_answer(answers, seqs, &e->session, asks, n, &g, NULL, NULL, err);
    for (int i = 0; i < n && !s; i++) {
        const lpo_record *rec = lpo_dataset_at(e->data, first + i);
        count(e, rec, answers[i]);
        e->n_tokens += seqs[i].n_ids;
        s = write_line(e, rec, answers[i], err);
    }
    for (int i = 0; i < n; i++) {
        if (asks && asks[i].clip) lpo_frame_cache_put(r->cache, asks[i].clip);
        if (answers) free(answers[i]);
        if (seqs) lpo_gen_seq_clear(&seqs[i]);
    }
    free(seqs);
    free(answers);
    free(asks);
    return s;
}

static lpo_status answer_all(evaluation *e, lpo_progress_fn *progress, void *user, lpo_error *err) {
    int64_t n = lpo_dataset_count(e->data);
    lpo_status s = LPO_OK;
    double t0 = lpo_now_s();
    for (int64_t first = 0; first < n && !s; first += e->o->batch_size) {
        int k = (int)(n - first < e->o->batch_size ? n - first : e->o->batch_size);
        s = answer_some(e, first, k, err);
        if (!s && progress && progress(user, "answering", first + k, n))
            s = lpo_fail(err, LPO_ECANCELED, "interrupted");
    }
    e->r.seconds = lpo_now_s() - t0;
    return s;
}

/* Sum over the records of the mean log-probability per token of the truth, in batches of 8 as `leanpo score`
 * takes them. */
static lpo_status add_likelihoods(evaluation *e, lpo_error *err) {
    lpo_engine engine;
    lpo_loader *loader = NULL;
    lpo_loader_options lo = lpo_loader_options_default();
    lo.batch_size = 8;
    lpo_status s = lpo_engine_open(&engine, e->session.model, false, err);
    if (!s) s = lpo_loader_create(&loader, e->data, &e->session.recipe, &lo, err);
    lpo_batch *b;
    while (!s && !(s = lpo_loader_next(&b, loader, NULL, err))) {
        lpo_rows r;
        s = lpo_engine_forward(&r, &engine, b, 0, b->n_samples, false, false, err);
        for (int32_t i = 0; i < b->n_samples && !s; i++) {
            double sum = 0;
            for (int64_t k = r.start_w[i]; k < r.start_w[i + 1]; k++) sum += r.t_w[k];
            e->r.mean_logp += sum / (double)(r.start_w[i + 1] - r.start_w[i]);
        }
        lpo_loader_release(loader, b);
    }
    lpo_loader_destroy(loader);
    lpo_engine_close(&engine);
    return s == LPO_EEND ? LPO_OK : s;
}

static void finish(evaluation *e) {
    double n = (double)e->r.n;
    e->r.accuracy /= n;
    e->r.content_f1 /= n;
    e->r.token_f1 /= n;
    e->r.exact_match /= n;
    e->r.mean_logp /= n;
    for (int i = 0; i < e->r.n_types; i++) {
        e->r.type[i].accuracy /= (double)e->r.type[i].n;
        e->r.type[i].content_f1 /= (double)e->r.type[i].n;
    }
    e->r.n_bad = lpo_dataset_bad(e->data);
    e->r.tokens_per_s = e->r.seconds > 0 ? (double)e->n_tokens / e->r.seconds : 0;
}

lpo_status lpo_eval(lpo_eval_result *out, const lpo_eval_options *o, lpo_progress_fn *progress, void *user,
                    lpo_error *err) {
    memset(out, 0, sizeof *out);
    if (!o->data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    if (o->batch_size < 1)
        return lpo_fail(err, LPO_EINVAL, "--batch-size %d: give at least 1", o->batch_size);
    evaluation e = {.o = o};
    lpo_dataset_options dopt = lpo_dataset_options_default();
    dopt.limit = o->limit;
    lpo_status s = lpo_session_open(&e.session, o->model, o->adapter, o->place, o->dtype, o->chat_template,
                                    &o->clips, o->n_threads, err);
    if (s) return s;
    s = lpo_dataset_open(&e.data, o->data, &dopt, err);
    if (!s) s = lpo_dataset_validate(e.data, &e.session.recipe, e.session.n_threads, progress, user, err);
    if (!s && o->out) s = lpo_writer_open(&e.out, o->out, err);
    if (!s) s = answer_all(&e, progress, user, err);
    if (!s) s = add_likelihoods(&e, err);
    if (e.out) {
        if (s)
            lpo_writer_abort(e.out);
        else
            s = lpo_writer_commit(e.out, err);
    }
    if (!s) {
        finish(&e);
        *out = e.r;
    }
    lpo_dataset_close(e.data);
    lpo_session_close(&e.session);
    return s;
}
