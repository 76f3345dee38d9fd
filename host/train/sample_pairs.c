/* SPDX-License-Identifier: Apache-2.0 */
/* sample_pairs.c -- preference pairs from the model's own answers: several on the video, several on an
 * augmented view of it (from the same decode), ranked by content-word F1 against the truth. The best becomes
 * chosen, the worst rejected, and a pair is kept when they differ by more than min_gap. The random stream of
 * answer k to question i is i*2*n_samples+k, so a file does not depend on batch size. */
#include "align/trust.h"
#include "base/clock.h"
#include "base/file.h"
#include "leanpo/train.h"
#include "train/session.h"

#include <stdlib.h>
#include <string.h>

lpo_sample_pairs_options lpo_sample_pairs_options_default(void) {
    return (lpo_sample_pairs_options){.n_samples = 2,
                                      .max_tokens = 32,
                                      .batch_size = 64,
                                      .temperature_chosen = .7,
                                      .temperature_rejected = 1,
                                      .min_gap = .1,
                                      .augment = "grey,noise=8,shuffle"};
}

typedef struct pair_job {
    const lpo_sample_pairs_options *o;
    lpo_session session;
    lpo_augment aug;
    lpo_dataset *data;
    lpo_writer *out;
    lpo_sample_pairs_result r;
} pair_job;

typedef struct candidate {
    const char *text;
    double trust;
} candidate;

static lpo_status write_pair(pair_job *j, const lpo_record *rec, candidate w, candidate l,
                             bool from_augmented, lpo_error *err) {
    char spec[256];
    lpo_augment_format(spec, sizeof spec, &j->aug);
    json_t *line = json_copy((json_t *)(uintptr_t)rec->json);
    json_object_del(line, "question");
    /* Paths in the output are relative to the output: absolute ones are always right. */
    char *video = realpath(rec->video, NULL);
    json_object_set_new(line, "video", json_string(video ? video : rec->video));
    free(video);
    json_object_set_new(line, "prompt", json_string(rec->prompt));
    json_object_set_new(line, "chosen", json_string(w.text));
    json_object_set_new(line, "rejected", json_string(l.text));
    json_object_set_new(line, "trust_chosen", json_real(w.trust));
    json_object_set_new(line, "trust_rejected", json_real(l.trust));
    json_object_set_new(line, "augment", json_string(from_augmented ? spec : "none"));
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    lpo_status s =
        text ? lpo_writer_printf(j->out, err, "%s\n", text) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    free(text);
    json_decref(line);
    j->r.n_pairs++;
    j->r.trust_chosen += w.trust;
    j->r.trust_rejected += l.trust;
    return s;
}

/* answers: n_samples on the video, then n_samples on the augmented view. */
static lpo_status choose(pair_job *j, const lpo_record *rec, char **answers, lpo_error *err) {
    int k = j->o->n_samples;
    candidate best = {NULL, -1}, worst = {NULL, 2};
    bool augmented = false;
    for (int i = 0; i < 2 * k; i++) {
        if (!answers[i][strspn(answers[i], " \t\r\n")]) continue;
        candidate c = {answers[i], lpo_trust_content_f1(answers[i], rec->chosen)};
        if (i < k && c.trust > best.trust) best = c;
        if (c.trust < worst.trust) {
            worst = c;
            augmented = i >= k;
        }
    }
    j->r.n_questions++;
    if (!best.text || !worst.text || best.trust - worst.trust <= j->o->min_gap) return LPO_OK;
    return write_pair(j, rec, best, worst, augmented, err);
}

/* One temperature's answers for records [first, first+n): out[i*2k + side*k + s]. */
static lpo_status sample_side(char **out, pair_job *j, int64_t first, int n, const lpo_clip *const *clips,
                              int side, lpo_error *err) {
    int k = j->o->n_samples;
    lpo_ask *asks = calloc((size_t)n * (size_t)k, sizeof *asks);
    char **answers = calloc((size_t)n * (size_t)k, sizeof *answers);
    lpo_status s = asks && answers ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for %d questions", n);
    if (!s) {
        for (int i = 0; i < n; i++)
            for (int c = 0; c < k; c++)
                asks[i * k + c] = (lpo_ask){.question = lpo_dataset_at(j->data, first + i)->prompt,
                                            .clip = clips[i],
                                            .stream = (uint64_t)(((first + i) * 2 + side) * k + c)};
        lpo_gen_options g = lpo_gen_options_default();
        g.max_tokens = j->o->max_tokens;
        g.temperature = side ? j->o->temperature_rejected : j->o->temperature_chosen;
        g.seed = j->o->seed;
        s = lpo_session_answer(answers, NULL, &j->session, asks, n * k, &g, NULL, NULL, err);
        for (int i = 0; i < n * k && !s; i++) out[i / k * 2 * k + side * k + i % k] = answers[i];
    }
    free(answers);
    free(asks);
    return s;
}

static lpo_status pair_some(pair_job *j, int64_t first, int n, lpo_error *err) {
    int k = j->o->n_samples;
    lpo_clip *own = calloc(2 * (size_t)n, sizeof *own); /* plain, augmented; equal neighbours share */
    const lpo_clip **clips = calloc(2 * (size_t)n, sizeof *clips);
    char **answers = calloc((size_t)n * 2 * (size_t)k, sizeof *answers);
    lpo_status s =
        own && clips && answers ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for %d questions", n);
    for (int i = 0; i < n && !s; i++) {
        const lpo_record *rec = lpo_dataset_at(j->data, first + i);
        if (i && !strcmp(rec->video, lpo_dataset_at(j->data, first + i - 1)->video)) {
            clips[i] = clips[i - 1];
            clips[n + i] = clips[n + i - 1];
            continue;
        }
        lpo_augment aug = j->aug;
        aug.seed += (uint64_t)(first + i);
        s = lpo_prep_video2(&own[i], &own[n + i], rec->video, &j->session.recipe.prep, &aug, err);
        clips[i] = &own[i];
        clips[n + i] = &own[n + i];
    }
    if (!s) s = sample_side(answers, j, first, n, clips, 0, err);
    if (!s) s = sample_side(answers, j, first, n, clips + n, 1, err);
    for (int i = 0; i < n && !s; i++)
        s = choose(j, lpo_dataset_at(j->data, first + i), answers + (size_t)i * 2 * (size_t)k, err);
    for (int i = 0; answers && i < n * 2 * k; i++) free(answers[i]);
    for (int i = 0; own && i < 2 * n; i++) lpo_clip_clear(&own[i]);
    free(answers);
    free(clips);
    free(own);
    return s;
}

static lpo_status check(const lpo_sample_pairs_options *o, lpo_error *err) {
    if (!o->data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    if (!o->out) return lpo_fail(err, LPO_EINVAL, "no output file given (--out F.jsonl)");
    if (o->n_samples < 1 || o->n_samples > 256)
        return lpo_fail(err, LPO_EINVAL, "%d samples per question: give 1..256", o->n_samples);
    if (o->batch_size < 1)
        return lpo_fail(err, LPO_EINVAL, "--batch-size %d: give at least 1", o->batch_size);
    return LPO_OK;
}

lpo_status lpo_sample_pairs(lpo_sample_pairs_result *out, const lpo_sample_pairs_options *o,
                            lpo_progress_fn *progress, void *user, lpo_error *err) {
    memset(out, 0, sizeof *out);
    pair_job j = {.o = o};
    lpo_status s = check(o, err);
    if (!s) s = lpo_augment_parse(&j.aug, o->augment ? o->augment : "", err);
    if (!s) s = lpo_session_open(&j.session, o->model, o->place, NULL, o->chat_template, o->n_threads, err);
    if (s) return s;
    lpo_dataset_options dopt = lpo_dataset_options_default();
    dopt.limit = o->limit;
    s = lpo_dataset_open(&j.data, o->data, &dopt, err);
    if (!s) s = lpo_dataset_validate(j.data, &j.session.recipe, j.session.n_threads, progress, user, err);
    if (!s) s = lpo_writer_open(&j.out, o->out, err);
    double t0 = lpo_now_s();
    int64_t n = s ? 0 : lpo_dataset_count(j.data);
    for (int64_t first = 0; first < n && !s; first += o->batch_size) {
        int k = (int)(n - first < o->batch_size ? n - first : o->batch_size);
        s = pair_some(&j, first, k, err);
        if (!s && progress && progress(user, "sampling pairs", first + k, n))
            s = lpo_fail(err, LPO_ECANCELED, "interrupted");
    }
    if (!s && j.r.n_pairs == 0)
        s = lpo_fail(err, LPO_EFORMAT,
                     "%s: no pair is kept out of %lld questions: answers never differ by more than %g in "
                     "content-word F1",
                     o->data, (long long)n, o->min_gap);
    if (j.out) {
        if (s)
            lpo_writer_abort(j.out);
        else
            s = lpo_writer_commit(j.out, err);
    }
    if (!s) {
        j.r.seconds = lpo_now_s() - t0;
        j.r.n_bad = lpo_dataset_bad(j.data);
        j.r.trust_chosen /= (double)j.r.n_pairs;
        j.r.trust_rejected /= (double)j.r.n_pairs;
        *out = j.r;
    }
    lpo_dataset_close(j.data);
    lpo_session_close(&j.session);
    return s;
}
