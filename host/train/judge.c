/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c -- what the two kinds of judge share: the choice, the budget, the counts. */
#include "train/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lpo_judge {
    const lpo_judge_way *way;
    void *self;
    lpo_judge_tally tally;
};

lpo_status lpo_judge_create(lpo_judge **out, const lpo_pairs_options *o, int64_t spent, lpo_error *err) {
    *out = NULL;
    if (o->judge_cmd && o->judge_url)
        return lpo_fail(err, LPO_EINVAL, "--judge-cmd and --judge-url: choose one");
    if (!(o->judge_timeout_s > 0) || o->judge_retries < 0 || o->judge_parallel < 1 ||
        o->judge_parallel > 256 || o->judge_budget < 0)
        return lpo_fail(
            err, LPO_EINVAL,
            "judge: timeout %g s, %d retries, %d in parallel, budget %lld: expected > 0, >= 0, 1..256, "
            ">= 0",
            o->judge_timeout_s, o->judge_retries, o->judge_parallel, (long long)o->judge_budget);
    lpo_judge *j = calloc(1, sizeof *j);
    if (!j) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    j->way = o->judge_cmd ? &lpo_judge_command : &lpo_judge_http;
    j->tally.spent = spent;
    lpo_status s = j->way->open(&j->self, o, &j->tally, err);
    if (s) {
        free(j);
        return s;
    }
    *out = j;
    return LPO_OK;
}

void lpo_judge_destroy(lpo_judge *j) {
    if (!j) return;
    j->way->close(j->self);
    free(j);
}

lpo_status lpo_judge_score(lpo_judge *j, lpo_judge_ask *asks, int n, lpo_error *err) {
    for (int i = 0; i < n; i++) asks[i].score = (double)NAN;
    return n ? j->way->score(j->self, asks, n, err) : LPO_OK;
}

void lpo_judge_cancel(lpo_judge *j) {
    atomic_store(&j->tally.cancelled, true);
}

lpo_status lpo_judge_may_call(lpo_judge_tally *t, const lpo_pairs_options *o, lpo_error *err) {
    if (atomic_load(&t->cancelled)) return lpo_fail(err, LPO_ECANCELED, "the judge was told to stop");
    const long long before = atomic_fetch_add(&t->calls, 1);
    if (!o->judge_budget || t->spent + before < o->judge_budget) return LPO_OK;
    atomic_fetch_sub(&t->calls, 1);
    return lpo_fail(
        err, LPO_ELIMIT,
        "the judge's budget of %lld calls is spent; --resume with a larger --judge-budget goes on",
        (long long)o->judge_budget);
}

void lpo_judge_quote(char *out, size_t cap, const char *text) {
    size_t n = 0;
    bool gap = false;
    for (; *text; text++) {
        if (strchr(" \t\r\n", *text)) {
            gap = n > 0;
            continue;
        }
        if (n + gap + 1 >= cap - 3) break;
        if (gap) out[n++] = ' ';
        gap = false;
        out[n++] = *text;
    }
    if (*text) {
        while (n && ((unsigned char)out[n - 1] & 0xc0) == 0x80) n--; /* not within a letter */
        if (n && (unsigned char)out[n - 1] >= 0xc0) n--;
        memcpy(out + n, "...", 3);
        n += 3;
    }
    out[n] = 0;
}

void lpo_judge_get_counts(lpo_judge_counts *out, lpo_judge *j) {
    lpo_judge_tally *t = &j->tally;
    *out = (lpo_judge_counts){atomic_load(&t->calls),        atomic_load(&t->retries),
                              atomic_load(&t->timeouts),     atomic_load(&t->bad_replies),
                              atomic_load(&t->late_replies), atomic_load(&t->restarts),
                              atomic_load(&t->failed)};
}
