/* SPDX-License-Identifier: Apache-2.0 */
/* The account of where time went: what many threads tell it is all there, in order, and silence is free. */
#include "base/clock.h"
#include "base/trace.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Off, the default: nothing is kept, no name is copied, and a call is a few nanoseconds (generous bound: this
 * is no benchmark, but 100 us a call would mean that something was recorded after all). */
Test(base_trace, off_keeps_nothing) {
    lpo_trace_log log;
    const double t0 = lpo_now_s();
    for (int i = 0; i < 100000; i++) {
        double t = lpo_trace_begin();
        cr_assert_eq(t, 0);
        lpo_trace_end(t, "forward", "cpu", NULL, 0, 0);
        lpo_trace_count("queue:batches", i);
        lpo_trace_put(&(lpo_span){.stage = "decode", .seconds = 1});
    }
    cr_assert_lt(lpo_now_s() - t0, 10);
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_spans + log.n_values, 0);
    lpo_trace_log_clear(&log);
}

/* A span begun while off ends as nothing, even if tracing was switched on in between: half a span is a lie.
 */
Test(base_trace, half_a_span_is_none) {
    lpo_trace_log log;
    const double t = lpo_trace_begin();
    lpo_trace_start();
    lpo_trace_end(t, "forward", "cpu", NULL, 0, 0);
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_spans, 0);
    lpo_trace_log_clear(&log);
}

enum { THREADS = 4, EACH = 3000 };

static void *record(void *user) {
    const int k = *(int *)user;
    char name[16]; /* reused: a name must have been copied */
    for (int i = 0; i < EACH; i++) {
        snprintf(name, sizeof name, "job %d", k);
        lpo_trace_put(&(lpo_span){"decode", "cpu", name, 1000 - i + 1e-3 * k, .5, i, k, k == 1});
        lpo_trace_count("queue:frames", i);
    }
    return NULL;
}

/* Every event of every thread is read back once, with its numbers, sorted by start whatever the order it was
 * told in. */
Test(base_trace, threads_and_order) {
    lpo_trace_log log;
    pthread_t t[THREADS];
    int k[THREADS];
    int seen[THREADS] = {0};
    lpo_trace_start();
    for (int i = 0; i < THREADS; i++) {
        k[i] = i;
        pthread_create(&t[i], NULL, record, &k[i]);
    }
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK); /* reading while they write */
    lpo_trace_log_clear(&log);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    lpo_trace_stop();
    lpo_trace_count("queue:frames", 1); /* after the stop: not kept */
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_spans, THREADS * EACH);
    cr_assert_eq(log.n_values, THREADS * EACH);
    cr_assert_eq(log.n_dropped, 0);
    for (size_t i = 0; i < log.n_spans; i++) {
        const lpo_span *s = &log.span[i].span;
        const int who = (int)s->flops;
        char want[16];
        snprintf(want, sizeof want, "job %d", who);
        cr_assert_str_eq(s->name, want);
        cr_assert_eq(s->modelled, who == 1);
        cr_assert_float_eq(s->start_s, 1000 - s->bytes + 1e-3 * who, 1e-9);
        cr_assert(!i || log.span[i - 1].span.start_s <= s->start_s);
        seen[who]++;
    }
    for (size_t i = 1; i < log.n_values; i++) cr_assert(log.value[i - 1].at_s <= log.value[i].at_s);
    for (int i = 0; i < THREADS; i++) cr_assert_eq(seen[i], EACH);
    lpo_trace_log_clear(&log);
}

/* A parent is read before the child that starts with it: charts and self times rely on it. */
Test(base_trace, parents_first) {
    lpo_trace_log log;
    lpo_trace_start();
    lpo_trace_put(&(lpo_span){"child", "cpu", NULL, 5, 1, 0, 0, false});
    lpo_trace_put(&(lpo_span){"parent", "cpu", NULL, 5, 2, 0, 0, false});
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_str_eq(log.span[0].span.stage, "parent");
    cr_assert_str_eq(log.span[1].span.stage, "child");
    lpo_trace_log_clear(&log);
}

static void *one_span(void *user) {
    (void)user;
    lpo_trace_thread("worker");
    lpo_trace_put(&(lpo_span){"decode", "cpu", NULL, lpo_now_s(), 0, 0, 0, false});
    return NULL;
}

/* A hundred threads that live one after another share one track, so the chart of a pool stays readable; a new
 * start forgets. */
Test(base_trace, short_lived_threads_share_a_track) {
    lpo_trace_log log;
    lpo_trace_start();
    lpo_trace_count("queue:frames", 0); /* this thread's own track */
    for (int i = 0; i < 100; i++) {
        pthread_t t;
        pthread_create(&t, NULL, one_span, NULL);
        pthread_join(t, NULL);
    }
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_spans, 100);
    cr_assert_eq(log.n_threads, 2);
    cr_assert_str_eq(log.thread[log.span[0].thread], "worker");
    lpo_trace_log_clear(&log);
    lpo_trace_start();
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_spans + log.n_values, 0);
    lpo_trace_log_clear(&log);
}

/* Memory is bounded: what comes after the cap is counted and said. */
Test(base_trace, cap_is_counted) {
    lpo_trace_log log;
    lpo_trace_start();
    for (int i = 0; i < LPO_TRACE_MAX_EVENTS + 7; i++) lpo_trace_count("queue:frames", i);
    cr_assert_eq(lpo_trace_read(&log, NULL), LPO_OK);
    cr_assert_eq(log.n_values, LPO_TRACE_MAX_EVENTS);
    cr_assert_eq(log.n_dropped, 7);
    lpo_trace_log_clear(&log);
    lpo_trace_start();
}
