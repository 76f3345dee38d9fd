/* SPDX-License-Identifier: Apache-2.0 */
/* The trace as a file is what Chrome's format says, holds everything, and reads back as it was. */
#include "base/file.h"
#include "base/json.h"
#include "profile/trace_file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static void make_path(void) {
    snprintf(path, sizeof path, "/tmp/leanpo-trace-%d.json", (int)getpid());
}
static void drop_path(void) {
    unlink(path);
}
TestSuite(profile_trace_file, .init = make_path, .fini = drop_path);

/* A step with two children; jobs of a card that overlap each other; the same jobs modelled; a file name that
 * is not UTF-8; a queue, an amount and a fact. */
static void small_log(lpo_trace_log *log) {
    static const char *thread[] = {"steps", "card", NULL};
    static lpo_trace_span span[] = {
        {{"step", "cpu", NULL, 100.0, .010, 0, 0, false}, 0},
        {{"forward", "cpu", NULL, 100.001, .004, 1e6, 2e9, false}, 0},
        {{"preprocess", "fpga:0", "preprocess_1", 100.001, .003, 5e5, 0, false}, 1},
        {{"preprocess", "fpga:0", "preprocess_1", 100.001, .001, 5e5, 0, true}, 1},
        {{"preprocess", "fpga:0", "preprocess_2", 100.002, .003, 5e5, 0, false}, 1},
        {{"backward", "cpu", NULL, 100.005, .005, 0, 0, false}, 0},
        {{"decode", "cpu", "caf\xe9 \"1\".mp4", 100.006, .001, 0, 0, false}, 2},
    };
    static lpo_trace_value value[] = {
        {"queue:batches", 100.002, 2}, {"n:tokens", 100.003, 310}, {"is:vocab", 100.004, 151936}};
    *log = (lpo_trace_log){span, 7, value, 3, thread, 3, 4};
}

static json_t *saved(void) {
    lpo_trace_log log;
    lpo_error err;
    json_t *root;
    small_log(&log);
    cr_assert_eq(lpo_trace_save(path, &log, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_json_load(&root, path, 1 << 20, &err), LPO_OK, "%s", err.msg);
    return root;
}

static const char *process_name(const json_t *events, json_int_t pid) {
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e) {
        if (json_integer_value(json_object_get(e, "pid")) == pid &&
            !strcmp(json_string_value(json_object_get(e, "name")), "process_name"))
            return json_string_value(json_object_get(json_object_get(e, "args"), "name"));
    }
    return NULL;
}

static double real(const json_t *e, const char *key) {
    cr_assert(json_is_number(json_object_get(e, key)), "%s is missing", key);
    return json_number_value(json_object_get(e, key));
}

/* Every span has the fields Perfetto needs, stands in a named process that says whether it was modelled, and
 * on its thread either holds its neighbour or stands apart from it: others are drawn wrongly. Times begin at
 * 0 and are microseconds. */
Test(profile_trace_file, is_chrome_json) {
    json_t *root = saved(), *events = json_object_get(root, "traceEvents"), *a, *b;
    size_t i, k;
    int spans = 0, counters = 0;
    json_array_foreach(events, i, a) {
        const char *ph = json_string_value(json_object_get(a, "ph"));
        const json_t *args = json_object_get(a, "args");
        cr_assert(json_is_integer(json_object_get(a, "pid")) && json_is_integer(json_object_get(a, "tid")));
        if (!strcmp(ph, "C")) {
            counters++;
            cr_assert(json_is_number(json_object_get(args, "value")));
        }
        if (strcmp(ph, "X")) continue;
        spans++;
        const char *process = process_name(events, json_integer_value(json_object_get(a, "pid")));
        cr_assert_not_null(process);
        const bool modelled = json_is_true(json_object_get(args, "modelled"));
        cr_assert_eq(!strncmp(process, "modelled: ", 10), modelled, "%s", process);
        cr_assert_not_null(strstr(process, json_string_value(json_object_get(args, "device"))));
        const double from = real(a, "ts"), to = from + real(a, "dur");
        json_array_foreach(events, k, b) {
            if (k <= i || strcmp(json_string_value(json_object_get(b, "ph")), "X")) continue;
            if (!json_equal(json_object_get(a, "pid"), json_object_get(b, "pid")) ||
                !json_equal(json_object_get(a, "tid"), json_object_get(b, "tid")))
                continue;
            const double from_b = real(b, "ts"), to_b = from_b + real(b, "dur");
            cr_assert(from_b >= to || to_b <= to, "%g..%g and %g..%g cross", from, to, from_b, to_b);
        }
    }
    cr_assert_eq(spans, 7);
    cr_assert_eq(counters, 2); /* the fact is no event */
    cr_assert_eq(real(json_object_get(json_object_get(root, "otherData"), "facts"), "is:vocab"), 151936);
    json_decref(root);
}

/* forward: 1 ms after the first event, 4 ms long, with its work. */
Test(profile_trace_file, units) {
    json_t *root = saved(), *events = json_object_get(root, "traceEvents"), *e;
    size_t i;
    int found = 0;
    json_array_foreach(events, i, e) {
        if (strcmp(json_string_value(json_object_get(e, "name")), "forward")) continue;
        found++;
        cr_assert_float_eq(real(e, "ts"), 1000, 1e-3);
        cr_assert_float_eq(real(e, "dur"), 4000, 1e-3);
        cr_assert_eq(real(json_object_get(e, "args"), "bytes"), 1e6);
        cr_assert_eq(real(json_object_get(e, "args"), "flops"), 2e9);
    }
    cr_assert_eq(found, 1);
    json_decref(root);
}

Test(profile_trace_file, reads_back) {
    lpo_trace_log want, got;
    lpo_error err;
    json_decref(saved());
    small_log(&want);
    cr_assert_eq(lpo_trace_load(&got, path, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(got.n_spans, want.n_spans);
    cr_assert_eq(got.n_values, want.n_values);
    cr_assert_eq(got.n_dropped, want.n_dropped);
    for (size_t i = 0; i + 1 < want.n_spans; i++) {
        const lpo_span *x = &want.span[i].span, *y = &got.span[i].span;
        cr_assert_str_eq(x->stage, y->stage);
        cr_assert_str_eq(x->device, y->device);
        cr_assert_eq(x->name == NULL, y->name == NULL);
        cr_assert_float_eq(x->start_s - 100, y->start_s, 2e-9);
        cr_assert_float_eq(x->seconds, y->seconds, 2e-9);
        cr_assert_eq(x->bytes, y->bytes);
        cr_assert_eq(x->flops, y->flops);
        cr_assert_eq(x->modelled, y->modelled);
        cr_assert_eq(want.span[i].thread, got.span[i].thread);
    }
    lpo_trace_log_clear(&got);
}

/* A file that is not ours, or was edited, is refused with the place. */
Test(profile_trace_file, refuses) {
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"[1]", "no traceEvents"},
        {"{\"traceEvents\":[{\"ph\":\"M\"},{\"ph\":\"X\",\"ts\":1}]}", "event 1"},
        {"{\"traceEvents\":[{\"ph\":\"C\",\"name\":\"q\",\"ts\":1,\"args\":{\"value\":\"x\"}}]}", "event 0"},
        {"{\"traceEvents\":[{\"ph\":\"X\",\"ts\":1,\"dur\":1,\"args\":{\"stage\":\"a\",\"device\":\"b\","
         "\"thread\":-1}}]}",
         "thread"},
        {"{\"traceEvents\":", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lpo_trace_log log;
        lpo_error err;
        cr_assert_eq(lpo_file_write(path, bad[i].text, strlen(bad[i].text), NULL), LPO_OK);
        cr_assert_neq(lpo_trace_load(&log, path, &err), LPO_OK);
        cr_assert_not_null(strstr(err.msg, bad[i].says), "%s", err.msg);
        cr_assert_not_null(strstr(err.msg, path));
    }
}

/* A software card's lines: a run becomes its wall clock on "emulated:fpga:0" and 3000 cycles at 300 MHz, 10
 * us, modelled on fpga:0; 7.5 MB up become 1 ms and the 13 us of a transfer. What happened at another time
 * belongs to another run, and a torn last line is left out. */
Test(profile_trace_file, card_lines) {
    static const char text[] =
        "{\"card\":0,\"kernel\":\"preprocess\",\"cu\":\"preprocess_1\",\"start_s\":100.002,\"seconds\":0.004,"
        "\"cycles\":3000,\"clock_hz\":300000000,\"bytes\":null,\"banks\":{\"HBM[0]\":4096}}\n"
        "{\"card\":0,\"kernel\":\"vadd\",\"cu\":\"vadd_1\",\"start_s\":100.003,\"seconds\":0.001,"
        "\"cycles\":null,\"clock_hz\":300000000,\"bytes\":null,\"banks\":{}}\n"
        "{\"card\":0,\"dma\":\"h2d\",\"bank\":\"HBM[0]\",\"bytes\":7500000,\"start_s\":100.001,\"seconds\":0."
        "0005}\n"
        "{\"card\":0,\"dma\":\"d2h\",\"bank\":\"HBM[0]\",\"bytes\":1,\"start_s\":7,\"seconds\":1}\n"
        "{\"card\":0,\"dma\":\"d2";
    lpo_trace_log log = {0}, small;
    lpo_error err;
    small_log(&small);
    log.n_spans = small.n_spans;
    log.span = malloc(small.n_spans * sizeof *log.span);
    memcpy(log.span, small.span, small.n_spans * sizeof *log.span);
    log.n_threads = small.n_threads;
    log.thread = calloc(3, sizeof *log.thread);
    cr_assert_eq(lpo_file_write(path, text, sizeof text - 1, NULL), LPO_OK);
    cr_assert_eq(lpo_trace_merge_card(&log, path, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(log.n_spans, small.n_spans + 5);
    int emulated = 0, modelled = 0;
    for (size_t i = 0; i < log.n_spans; i++) {
        const lpo_span *s = &log.span[i].span;
        emulated += !strcmp(s->device, "emulated:fpga:0") && !s->modelled;
        if (log.span[i].thread != 3 || !s->modelled) continue;
        modelled++;
        cr_assert_str_eq(s->device, "fpga:0");
        cr_assert_float_eq(s->seconds, strcmp(s->stage, "copy") ? 10e-6 : 1013e-6, 1e-12);
    }
    cr_assert_eq(emulated, 3);
    cr_assert_eq(modelled, 2);
    lpo_trace_log_clear(&log);
}

/* timing.jsonl of a run that crashed after step 2 and did it again: the step told last counts, steps follow
 * each other, parts stand inside. */
Test(profile_trace_file, timing) {
    static const char text[] =
        "{\"step\":1,\"time/step_s\":3,\"time/forward_s\":1}\n"
        "{\"step\":2,\"time/step_s\":9}\n"
        "{\"step\":2,\"time/step_s\":2,\"time/data_wait_s\":0.5,\"time/forward_s\":1}\n"
        "{\"step\":3,\"ti";
    lpo_trace_log log;
    lpo_error err;
    double steps_s = 0, forward_at_s = 0;
    cr_assert_eq(lpo_file_write(path, text, sizeof text - 1, NULL), LPO_OK);
    cr_assert_eq(lpo_timing_load(&log, path, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(log.n_spans, 14);
    for (size_t i = 0; i < log.n_spans; i++) {
        const lpo_span *s = &log.span[i].span;
        if (!strcmp(s->stage, "step")) steps_s += s->seconds;
        if (!strcmp(s->stage, "forward")) forward_at_s = s->start_s;
    }
    cr_assert_float_eq(steps_s, 5, 1e-12);
    cr_assert_float_eq(forward_at_s, 3.5, 1e-12);
    lpo_trace_log_clear(&log);
}
