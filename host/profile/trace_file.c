/* SPDX-License-Identifier: Apache-2.0 */
/* trace_file.c -- see trace_file.h. Times are whole nanoseconds on the way out, so that what nested in memory
 * nests in the file. Chrome's format has no overlapping spans on a thread (asynchronous jobs of a card do
 * overlap): a span that overlaps without nesting moves to the next lane of its thread. */
#include "profile/trace_file.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, DEPTH = 32, MAX_PROCESSES = 64, COUNTERS_PID = 1 };
static const size_t MAX_FILE = (size_t)1 << 30;

typedef struct lane {
    int64_t end_ns[DEPTH];
    int depth, used;
} lane;

typedef struct process {
    const char *device; /* interned */
    bool modelled;
    lane *lanes; /* [n_threads][LANES] */
} process;

typedef struct writer {
    lpo_writer *w;
    lpo_error *err;
    lpo_status status;
    const lpo_trace_log *log;
    double zero_s;
    process process[MAX_PROCESSES];
    int n_processes, n_events;
} writer;

/* ---- pieces of JSON ---- */

static void put(writer *t, const char *fmt, ...) LPO_PRINTF(2, 3);
static void put(writer *t, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    if (t->status) return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    t->status = lpo_writer_put(t->w, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, t->err);
}

/* A string; file names may be any bytes, JSON may not. */
static void put_text(writer *t, const char *text) {
    char plain[512];
    json_t *s = json_string(text);
    if (!s) {
        size_t n = 0;
        for (; text[n] && n < sizeof plain - 1; n++) plain[n] = (signed char)text[n] < ' ' ? '?' : text[n];
        plain[n] = 0;
        s = json_string(plain);
    }
    char *out = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    json_decref(s);
    if (out && !t->status) t->status = lpo_writer_put(t->w, out, strlen(out), t->err);
    if (!out) t->status = lpo_fail(t->err, LPO_ENOMEM, "out of memory for the trace");
    free(out);
}

static void put_us(writer *t, const char *key, int64_t ns) {
    put(t, ",\"%s\":%lld.%03d", key, (long long)(ns / 1000), (int)(ns % 1000));
}

static void next_event(writer *t) {
    put(t, "%s\n", t->n_events++ ? "," : "");
}

static void put_name(writer *t, const char *kind, int pid, int tid, const char *prefix, const char *name) {
    char text[600];
    snprintf(text, sizeof text, "%s%s", prefix, name);
    next_event(t);
    put(t, "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":", kind, pid, tid);
    put_text(t, text);
    put(t, "}}");
}

/* ---- tracks ---- */

static process *process_of(writer *t, const lpo_span *s) {
    for (int i = 0; i < t->n_processes; i++)
        if (!strcmp(t->process[i].device, s->device) && t->process[i].modelled == s->modelled)
            return &t->process[i];
    if (t->n_processes == MAX_PROCESSES) {
        t->status = lpo_fail(t->err, LPO_ELIMIT, "a trace of more than %d devices", MAX_PROCESSES);
        return NULL;
    }
    process *p = &t->process[t->n_processes];
    *p = (process){s->device, s->modelled, calloc((size_t)t->log->n_threads * LANES + 1, sizeof *p->lanes)};
    if (!p->lanes) {
        t->status = lpo_fail(t->err, LPO_ENOMEM, "out of memory for the trace");
        return NULL;
    }
    const int pid = ++t->n_processes + COUNTERS_PID;
    char text[128];
    const bool soft = !strcmp(s->device, "csim") || !strncmp(s->device, "emulated:", 9);
    snprintf(text, sizeof text, "%.80s%s", s->device, soft && !s->modelled ? " (not hardware)" : "");
    put_name(t, "process_name", pid, 0, s->modelled ? "modelled: " : "", text);
    next_event(t);
    put(t, "{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":%d,\"tid\":0,\"args\":{\"sort_index\":%d}}",
        pid, pid + (s->modelled ? 100 : 0));
    return p;
}

/* Which lane of its thread can hold the span; it is held from then on. */
static int lane_of(lane *lanes, int64_t start, int64_t end) {
    for (int k = 0; k < LANES; k++) {
        lane *l = &lanes[k];
        while (l->depth && l->end_ns[l->depth - 1] <= start) l->depth--;
        if (l->depth && l->end_ns[l->depth - 1] < end) continue;
        if (l->depth == DEPTH) continue;
        l->end_ns[l->depth++] = end;
        return k;
    }
    return LANES - 1;
}

static int64_t to_ns(const writer *t, double at_s) {
    const double ns = (at_s - t->zero_s) * 1e9;
    return ns > 0 && ns < 9e18 ? llround(ns) : 0;
}

static void put_span(writer *t, const lpo_trace_span *e) {
    const lpo_span *s = &e->span;
    process *p = process_of(t, s);
    if (!p) return;
    const int64_t start = to_ns(t, s->start_s), end = to_ns(t, s->start_s + s->seconds);
    lane *lanes = p->lanes + (size_t)e->thread * LANES;
    const int k = lane_of(lanes, start, end), pid = (int)(p - t->process) + COUNTERS_PID + 1;
    const int tid = e->thread * LANES + k + 1;
    if (!lanes[k].used) {
        const char *name = t->log->thread[e->thread];
        char text[96], lane_text[24] = "";
        if (k) snprintf(lane_text, sizeof lane_text, " (%d)", k + 1);
        snprintf(text, sizeof text, "%.60s %d%s", name ? name : "thread", e->thread, lane_text);
        put_name(t, "thread_name", pid, tid, s->modelled ? "modelled: " : "", text);
        lanes[k].used = 1;
    }
    next_event(t);
    put(t, "{\"ph\":\"X\",\"name\":");
    put_text(t, s->name ? s->name : s->stage);
    put(t, ",\"cat\":");
    put_text(t, s->stage);
    put(t, ",\"pid\":%d,\"tid\":%d", pid, tid);
    put_us(t, "ts", start);
    put_us(t, "dur", end - start);
    put(t, ",\"args\":{\"stage\":");
    put_text(t, s->stage);
    put(t, ",\"device\":");
    put_text(t, s->device);
    if (s->name) {
        put(t, ",\"name\":");
        put_text(t, s->name);
    }
    put(t, ",\"thread\":%d,\"modelled\":%s", e->thread, s->modelled ? "true" : "false");
    if (s->bytes > 0) put(t, ",\"bytes\":%.17g", s->bytes);
    if (s->flops > 0) put(t, ",\"flops\":%.17g", s->flops);
    put(t, "}}");
}

static bool is_fact(const char *name) {
    return !strncmp(name, "is:", 3);
}

static void put_value(writer *t, const lpo_trace_value *v) {
    if (is_fact(v->name)) return;
    next_event(t);
    put(t, "{\"ph\":\"C\",\"name\":");
    put_text(t, v->name);
    put(t, ",\"pid\":%d,\"tid\":0", COUNTERS_PID);
    put_us(t, "ts", to_ns(t, v->at_s));
    put(t, ",\"args\":{\"value\":%.17g}}", isfinite(v->value) ? v->value : 0);
}

static void put_about(writer *t) {
    bool first = true;
    put(t, "\n],\"otherData\":{\"program\":\"leanpo " LEANPO_VERSION "\",\"dropped\":%llu,\"facts\":{",
        (unsigned long long)t->log->n_dropped);
    for (size_t i = 0; i < t->log->n_values; i++) {
        const lpo_trace_value *v = &t->log->value[i];
        bool later = false;
        if (!is_fact(v->name)) continue;
        for (size_t k = i + 1; k < t->log->n_values && !later; k++)
            later = is_fact(t->log->value[k].name) && !strcmp(t->log->value[k].name, v->name);
        if (later) continue;
        put(t, "%s", first ? "" : ",");
        put_text(t, v->name);
        put(t, ":%.17g", isfinite(v->value) ? v->value : 0);
        first = false;
    }
    put(t, "}}}\n");
}

lpo_status lpo_trace_save(const char *path, const lpo_trace_log *log, lpo_error *err) {
    writer t = {.err = err, .log = log};
    lpo_status s = lpo_writer_open(&t.w, path, err);
    if (s) return s;
    t.zero_s = log->n_spans ? log->span[0].span.start_s : 0;
    if (log->n_values && (!log->n_spans || log->value[0].at_s < t.zero_s)) t.zero_s = log->value[0].at_s;
    put(&t, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    put_name(&t, "process_name", COUNTERS_PID, 0, "", "counters");
    for (size_t i = 0; i < log->n_spans; i++) put_span(&t, &log->span[i]);
    for (size_t i = 0; i < log->n_values; i++) put_value(&t, &log->value[i]);
    put_about(&t);
    for (int i = 0; i < t.n_processes; i++) free(t.process[i].lanes);
    if (!t.status) return lpo_writer_commit(t.w, err);
    lpo_writer_abort(t.w);
    return t.status;
}

/* ---- back again ---- */

static double real_or(const json_t *obj, const char *key, double fallback) {
    const json_t *v = json_object_get(obj, key);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

static lpo_status load_span(lpo_trace_log *log, const json_t *e, const char *where, lpo_error *err) {
    const json_t *args = json_object_get(e, "args");
    const char *stage, *device;
    double ts, dur;
    int64_t thread;
    lpo_status s = lpo_json_real(&ts, e, "ts", 0, 1e15, where, err);
    if (!s) s = lpo_json_real(&dur, e, "dur", 0, 1e15, where, err);
    if (!s) s = lpo_json_str(&stage, args, "stage", where, err);
    if (!s) s = lpo_json_str(&device, args, "device", where, err);
    if (!s) s = lpo_json_int(&thread, args, "thread", 0, 1 << 20, where, err);
    if (s) return s;
    if (log->n_threads <= thread) log->n_threads = (int)thread + 1;
    log->span[log->n_spans++] =
        (lpo_trace_span){{lpo_trace_intern(stage), lpo_trace_intern(device),
                          lpo_trace_intern(json_string_value(json_object_get(args, "name"))), ts * 1e-6,
                          dur * 1e-6, real_or(args, "bytes", 0), real_or(args, "flops", 0),
                          json_is_true(json_object_get(args, "modelled"))},
                         (int)thread};
    return LPO_OK;
}

static lpo_status load_value(lpo_trace_log *log, const json_t *e, const char *where, lpo_error *err) {
    const char *name;
    double ts, value;
    lpo_status s = lpo_json_real(&ts, e, "ts", 0, 1e15, where, err);
    if (!s) s = lpo_json_str(&name, e, "name", where, err);
    if (!s) s = lpo_json_real(&value, json_object_get(e, "args"), "value", -1e300, 1e300, where, err);
    if (!s) log->value[log->n_values++] = (lpo_trace_value){lpo_trace_intern(name), ts * 1e-6, value};
    return s;
}

static lpo_status load_events(lpo_trace_log *log, const json_t *root, const char *path, lpo_error *err) {
    const json_t *events = json_object_get(root, "traceEvents"), *e, *v;
    json_t *facts = json_object_get(json_object_get(root, "otherData"), "facts");
    const char *key;
    size_t i;
    if (!json_is_array(events))
        return lpo_fail(err, LPO_EFORMAT, "%s: has no traceEvents; is it a trace of leanpo train --trace?",
                        path);
    log->span = malloc((json_array_size(events) + 1) * sizeof *log->span);
    log->value = malloc((json_array_size(events) + json_object_size(facts) + 1) * sizeof *log->value);
    if (!log->span || !log->value) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    json_object_foreach(facts, key, v) log->value[log->n_values++] =
        (lpo_trace_value){lpo_trace_intern(key), 0, json_number_value(v)};
    json_array_foreach(events, i, e) {
        char where[600];
        const char *ph = json_string_value(json_object_get(e, "ph"));
        lpo_status s = LPO_OK;
        snprintf(where, sizeof where, "%.500s: event %zu", path, i);
        if (ph && !strcmp(ph, "X")) s = load_span(log, e, where, err);
        if (ph && !strcmp(ph, "C")) s = load_value(log, e, where, err);
        if (s) return s;
    }
    log->thread = calloc((size_t)log->n_threads + 1, sizeof *log->thread);
    if (!log->thread) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    log->n_dropped = (uint64_t)real_or(json_object_get(root, "otherData"), "dropped", 0);
    return LPO_OK;
}

lpo_status lpo_trace_load(lpo_trace_log *out, const char *path, lpo_error *err) {
    json_t *root;
    *out = (lpo_trace_log){0};
    lpo_status s = lpo_json_load(&root, path, MAX_FILE, err);
    if (s) return s;
    s = load_events(out, root, path, err);
    json_decref(root);
    if (s)
        lpo_trace_log_clear(out);
    else
        lpo_trace_log_sort(out);
    return s;
}
