/* SPDX-License-Identifier: Apache-2.0 */
/* summary.c -- see summary.h. Spans become segments (row, from, to) of own time, one thread after the other
 * by a stack of what is open; segments are then united per row, so that two threads at one stage count once.
 */
#include "profile/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct segment {
    int row;   /* of s->stage */
    bool main; /* on the thread of the steps */
    double from_s, to_s;
} segment;

typedef struct builder {
    lpo_summary *s;
    const lpo_trace_log *log;
    double from_s, to_s;
    int main_thread;
    segment *seg;
    size_t n_seg;
} builder;

static const char *const ORDER[] = {
    "decode",    "preprocess", "patchify",  "tokenize", "submit",   "wait:preprocess",
    "wait:step", "wait:data",  "record",    "encode",   "generate", "forward",
    "reduce",    "backward",   "optimizer", "step",     "kernel",   "copy"};
enum { N_ORDER = sizeof ORDER / sizeof *ORDER, N_DATA = 4 };

static int order_of(const char *stage) {
    for (int i = 0; i < N_ORDER; i++)
        if (!strcmp(stage, ORDER[i])) return i;
    return N_ORDER;
}

bool lpo_stage_is_wait(const char *stage) {
    return !strncmp(stage, "wait:", 5);
}

static bool is_op(const lpo_span *s) {
    return !strcmp(s->stage, "op");
}

/* HLS C in this process, a software card as it tells of itself, or as the host sees it. */
static bool is_emulated(const lpo_summary *s, const char *device) {
    return !strcmp(device, "csim") || !strncmp(device, "emulated:", 9) ||
           (s->is_emulation && !strncmp(device, "fpga", 4));
}

const lpo_stage_time *lpo_summary_find(const lpo_summary *s, const char *stage, const char *device) {
    for (int i = 0; i < s->n_stages; i++)
        if (!strcmp(s->stage[i].stage, stage) && (!device || !strcmp(s->stage[i].device, device)))
            return &s->stage[i];
    return NULL;
}

/* The row of a span, made when it is the first; -1 when there are too many. */
static int row_of(const lpo_summary *s, lpo_stage_time *rows, int *n, const lpo_span *p, const char *stage) {
    for (int i = 0; i < *n; i++)
        if (!strcmp(rows[i].stage, stage) && !strcmp(rows[i].device, p->device) &&
            rows[i].modelled == p->modelled)
            return i;
    if (*n == LPO_SUMMARY_ROWS) return -1;
    rows[*n] = (lpo_stage_time){
        .stage = stage, .device = p->device, .modelled = p->modelled, .emulated = is_emulated(s, p->device)};
    return (*n)++;
}

/* ---- the window ---- */

static bool is_step(const lpo_span *s) {
    return !strcmp(s->stage, "step") && !s->modelled;
}

static void choose_window(builder *b, int last_steps, int tail) {
    lpo_summary *s = b->s;
    const lpo_trace_log *log = b->log;
    int all = 0, seen = 0;
    b->main_thread = -1;
    b->from_s = INFINITY;
    b->to_s = 0;
    for (size_t i = 0; i < log->n_spans; i++) all += is_step(&log->span[i].span);
    const int end = all > tail ? all - tail : all;
    s->n_skipped = last_steps > 0 ? (end > last_steps ? end - last_steps : 0) : (end + 9) / 10;
    if (s->n_skipped == end) s->n_skipped = 0;
    s->n_steps = end - s->n_skipped;
    s->step_min_s = INFINITY;
    for (size_t i = 0; i < log->n_spans; i++) {
        const lpo_span *p = &log->span[i].span;
        if (all && !is_step(p)) continue;
        if (all && (seen++ < s->n_skipped || seen > end)) continue;
        if (p->modelled) continue;
        b->from_s = fmin(b->from_s, p->start_s);
        b->to_s = fmax(b->to_s, p->start_s + p->seconds);
        if (!all) continue;
        b->main_thread = log->span[i].thread;
        s->step_s += p->seconds / s->n_steps;
        s->step_min_s = fmin(s->step_min_s, p->seconds);
        s->step_max_s = fmax(s->step_max_s, p->seconds);
    }
    s->window_s = b->to_s > b->from_s ? b->to_s - b->from_s : 0;
    if (!all) s->step_s = s->step_min_s = s->step_max_s = s->window_s;
}

/* ---- own time ---- */

/* [from, to) cut to the window; false when nothing is left. */
static bool clip(const builder *b, double *from_s, double *to_s) {
    *from_s = fmax(*from_s, b->from_s);
    *to_s = fmin(*to_s, b->to_s);
    return *to_s > *from_s;
}

static void emit(builder *b, int row, int thread, double from_s, double to_s) {
    if (row < 0 || !clip(b, &from_s, &to_s)) return;
    b->seg[b->n_seg++] = (segment){row, thread == b->main_thread, from_s, to_s};
    b->s->stage[row].thread_s += to_s - from_s;
}

/* The span's work, as far as it lies within the window. */
static void add_work(const builder *b, lpo_stage_time *row, const lpo_span *p) {
    double from_s = p->start_s, to_s = p->start_s + p->seconds;
    const bool within = p->start_s >= b->from_s && p->start_s <= b->to_s;
    const double share =
        p->seconds > 0 ? (clip(b, &from_s, &to_s) ? (to_s - from_s) / p->seconds : 0) : within;
    row->n += within;
    row->bytes += share * p->bytes;
    row->flops += share * p->flops;
}

typedef struct open_span {
    double end_s, cursor_s;
    int row;
} open_span;

enum { DEPTH = 64 };

static void close_one(builder *b, open_span *stack, int *n, int thread) {
    const open_span *top = &stack[--*n];
    emit(b, top->row, thread, top->cursor_s, top->end_s);
    if (*n) stack[*n - 1].cursor_s = top->end_s;
}

/* One thread's spans on one device, in order of start. */
static void own_time(builder *b, const lpo_trace_span *e, size_t n) {
    const double SLACK_S = 2e-9; /* the file's ends are rounded */
    open_span stack[DEPTH];
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        const lpo_span *p = &e[i].span;
        const double end_s = p->start_s + p->seconds;
        const int row = row_of(b->s, b->s->stage, &b->s->n_stages, p, p->stage);
        if (row >= 0) add_work(b, &b->s->stage[row], p);
        while (depth && stack[depth - 1].end_s <= p->start_s + SLACK_S)
            close_one(b, stack, &depth, e[i].thread);
        const bool nests = !depth || end_s <= stack[depth - 1].end_s + SLACK_S;
        if (!nests || depth == DEPTH || p->modelled) { /* jobs that overlap: each for itself */
            emit(b, row, e[i].thread, p->start_s, end_s);
            continue;
        }
        if (depth) emit(b, stack[depth - 1].row, e[i].thread, stack[depth - 1].cursor_s, p->start_s);
        stack[depth++] = (open_span){end_s, p->start_s, row};
    }
    while (depth) close_one(b, stack, &depth, n ? e[0].thread : 0);
}

static int by_track(const void *x, const void *y) {
    const lpo_trace_span *p = x, *q = y;
    if (p->thread != q->thread) return p->thread < q->thread ? -1 : 1;
    if (p->span.modelled != q->span.modelled) return p->span.modelled ? 1 : -1;
    const int d = strcmp(p->span.device, q->span.device);
    if (d) return d;
    if (p->span.start_s != q->span.start_s) return p->span.start_s < q->span.start_s ? -1 : 1;
    return (p->span.seconds < q->span.seconds) - (p->span.seconds > q->span.seconds);
}

static bool same_track(const lpo_trace_span *p, const lpo_trace_span *q) {
    return p->thread == q->thread && p->span.modelled == q->span.modelled &&
           !strcmp(p->span.device, q->span.device);
}

static void add_ops(builder *b) {
    for (size_t i = 0; i < b->log->n_spans; i++) {
        const lpo_span *p = &b->log->span[i].span;
        if (!is_op(p) || p->start_s < b->from_s || p->start_s > b->to_s) continue;
        const int row = row_of(b->s, b->s->op, &b->s->n_ops, p, p->name ? p->name : "op");
        if (row < 0) continue;
        add_work(b, &b->s->op[row], p);
        b->s->op[row].busy_s += p->seconds;
        b->s->op[row].thread_s += p->seconds;
    }
}

static lpo_status add_spans(builder *b, lpo_error *err) {
    lpo_trace_span *own = malloc((b->log->n_spans + 1) * sizeof *own);
    size_t n = 0;
    b->seg = malloc((2 * b->log->n_spans + 1) * sizeof *b->seg);
    if (!own || !b->seg) {
        free(own);
        return lpo_fail(err, LPO_ENOMEM, "out of memory for a trace of %zu spans", b->log->n_spans);
    }
    for (size_t i = 0; i < b->log->n_spans; i++)
        if (!is_op(&b->log->span[i].span)) own[n++] = b->log->span[i];
    if (n) qsort(own, n, sizeof *own, by_track);
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && same_track(&own[i], &own[k]); k++) {
        }
        own_time(b, own + i, k - i);
    }
    free(own);
    add_ops(b);
    return LPO_OK;
}

/* ---- unions ---- */

static int by_row(const void *x, const void *y) {
    const segment *p = x, *q = y;
    if (p->row != q->row) return p->row - q->row;
    return (p->from_s > q->from_s) - (p->from_s < q->from_s);
}
static int by_from(const void *x, const void *y) {
    const segment *p = x, *q = y;
    return (p->from_s > q->from_s) - (p->from_s < q->from_s);
}

/* Segments sorted by start, in place: their union. Returns how many are left. */
static size_t unite(segment *g, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (k && g[i].from_s <= g[k - 1].to_s)
            g[k - 1].to_s = fmax(g[k - 1].to_s, g[i].to_s);
        else
            g[k++] = g[i];
    }
    return k;
}

static double length(const segment *g, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += g[i].to_s - g[i].from_s;
    return sum;
}

static double common(const segment *a, size_t n_a, const segment *b, size_t n_b) {
    double sum = 0;
    for (size_t i = 0, k = 0; i < n_a && k < n_b;) {
        const double from_s = fmax(a[i].from_s, b[k].from_s), to_s = fmin(a[i].to_s, b[k].to_s);
        if (to_s > from_s) sum += to_s - from_s;
        if (a[i].to_s < b[k].to_s)
            i++;
        else
            k++;
    }
    return sum;
}

/* Data stages against what the step's own thread does when it neither waits nor makes data. */
static lpo_status overlap(builder *b, lpo_error *err) {
    segment *data = malloc((2 * b->n_seg + 1) * sizeof *data), *own = data + b->n_seg;
    size_t n_data = 0, n_own = 0;
    if (!data) return lpo_fail(err, LPO_ENOMEM, "out of memory for a trace");
    for (size_t i = 0; i < b->n_seg; i++) {
        const lpo_stage_time *r = &b->s->stage[b->seg[i].row];
        if (r->modelled || r->emulated) continue;
        if (order_of(r->stage) < N_DATA)
            data[n_data++] = b->seg[i];
        else if (b->seg[i].main && !lpo_stage_is_wait(r->stage))
            own[n_own++] = b->seg[i];
    }
    if (n_data) qsort(data, n_data, sizeof *data, by_from);
    if (n_own) qsort(own, n_own, sizeof *own, by_from);
    n_data = unite(data, n_data);
    n_own = unite(own, n_own);
    b->s->data_s = length(data, n_data);
    b->s->overlap_s = common(data, n_data, own, n_own);
    free(data);
    return LPO_OK;
}

static void unite_rows(builder *b) {
    if (b->n_seg) qsort(b->seg, b->n_seg, sizeof *b->seg, by_row);
    for (size_t i = 0, k; i < b->n_seg; i = k) {
        for (k = i; k < b->n_seg && b->seg[k].row == b->seg[i].row; k++) {
        }
        b->s->stage[b->seg[i].row].busy_s = length(b->seg + i, unite(b->seg + i, k - i));
    }
}

/* ---- counters ---- */

static bool begins(const char *text, const char *prefix) {
    return !strncmp(text, prefix, strlen(prefix));
}

/* A level holds from its event to the next of its name; before the first it is unknown. */
static void add_level(builder *b, size_t first) {
    const char *name = b->log->value[first].name;
    lpo_summary *s = b->s;
    double sum = 0, time_s = 0, value = 0, since_s = -1;
    lpo_level l = {name, 0, INFINITY, -INFINITY};
    for (int i = 0; i < s->n_levels; i++)
        if (!strcmp(s->level[i].name, name)) return;
    for (size_t i = first; i <= b->log->n_values; i++) {
        const lpo_trace_value *v = i < b->log->n_values ? &b->log->value[i] : NULL;
        if (v && strcmp(v->name, name)) continue;
        double from_s = since_s, to_s = v ? v->at_s : b->to_s;
        if (since_s >= 0 && clip(b, &from_s, &to_s)) {
            sum += value * (to_s - from_s);
            time_s += to_s - from_s;
            l.min = fmin(l.min, value);
            l.max = fmax(l.max, value);
        }
        if (v) value = v->value, since_s = v->at_s;
    }
    if (!(time_s > 0) || s->n_levels == LPO_SUMMARY_LEVELS) return;
    l.mean = sum / time_s;
    s->level[s->n_levels++] = l;
}

static void add_values(builder *b) {
    lpo_summary *s = b->s;
    double source = 0, result = 0;
    for (size_t i = 0; i < b->log->n_values; i++) {
        const lpo_trace_value *v = &b->log->value[i];
        const bool within = v->at_s >= b->from_s && v->at_s <= b->to_s;
        if (!strcmp(v->name, "n:frames")) {
            s->all_frames += v->value;
            s->frames += within * v->value;
        } else if (!strcmp(v->name, "n:frame_pixels")) {
            source += v->value;
        } else if (!strcmp(v->name, "n:prep_pixels")) {
            result += v->value;
        } else if (!strcmp(v->name, "n:tokens")) {
            s->tokens += within * v->value;
        } else if (!strcmp(v->name, "is:vocab")) {
            s->vocab = v->value;
        } else if (!strcmp(v->name, "is:threads")) {
            s->threads = v->value;
        } else if (!strcmp(v->name, "is:bf16")) {
            s->bf16 = v->value > 0;
        } else if (!begins(v->name, "n:") && !begins(v->name, "is:")) {
            add_level(b, i);
        }
    }
    if (s->all_frames > 0) {
        s->frame_pixels = source / s->all_frames;
        s->prep_pixels = result / s->all_frames;
    }
}

/* ---- all of it ---- */

static int by_order(const void *x, const void *y) {
    const lpo_stage_time *p = x, *q = y;
    const int modelled = p->modelled - q->modelled;
    if (modelled) return modelled;
    const int o = order_of(p->stage) - order_of(q->stage);
    if (o) return o;
    const int stage = strcmp(p->stage, q->stage);
    return stage ? stage : strcmp(p->device, q->device);
}

/* Queues before bytes. */
static int by_name(const void *x, const void *y) {
    const lpo_level *p = x, *q = y;
    const int bytes = begins(p->name, "bytes:") - begins(q->name, "bytes:");
    return bytes ? bytes : strcmp(p->name, q->name);
}

static int by_busy(const void *x, const void *y) {
    const lpo_stage_time *p = x, *q = y;
    return (p->busy_s < q->busy_s) - (p->busy_s > q->busy_s);
}

/* Rows nothing of which lies in the window go. */
static void drop_empty(lpo_summary *s) {
    int n = 0;
    for (int i = 0; i < s->n_stages; i++)
        if (s->stage[i].n || s->stage[i].thread_s > 0) s->stage[n++] = s->stage[i];
    s->n_stages = n;
}

/* Decoding and preprocessing of the whole trace: with a warm cache the steps themselves see none of it. */
static lpo_status add_whole(lpo_summary *s, const lpo_trace_log *log, lpo_error *err) {
    lpo_summary *all = calloc(1, sizeof *all);
    builder b = {.s = all, .log = log, .from_s = 0, .to_s = INFINITY, .main_thread = -1};
    lpo_status st = all ? add_spans(&b, err) : lpo_fail(err, LPO_ENOMEM, "out of memory for a trace");
    for (int i = 0; !st && i < all->n_stages; i++) {
        if (all->stage[i].modelled || all->stage[i].emulated) continue;
        if (!strcmp(all->stage[i].stage, "decode")) s->decode_s += all->stage[i].thread_s;
        if (!strcmp(all->stage[i].stage, "preprocess") && !strcmp(all->stage[i].device, "cpu"))
            s->preprocess_s += all->stage[i].thread_s;
    }
    free(b.seg);
    free(all);
    return st;
}

lpo_status lpo_summary_make(lpo_summary *out, const lpo_trace_log *log, int last_steps, int tail,
                            lpo_error *err) {
    builder b = {.s = out, .log = log};
    memset(out, 0, sizeof *out);
    if (!log->n_spans) return lpo_fail(err, LPO_EINVAL, "the trace holds no span");
    for (size_t i = 0; i < log->n_values; i++)
        if (!strcmp(log->value[i].name, "is:emulation")) out->is_emulation = log->value[i].value > 0;
    choose_window(&b, last_steps, tail);
    lpo_status st = add_spans(&b, err);
    if (!st) st = overlap(&b, err);
    if (!st) unite_rows(&b);
    if (!st) st = add_whole(out, log, err);
    free(b.seg);
    if (st) return st;
    add_values(&b);
    drop_empty(out);
    qsort(out->stage, (size_t)out->n_stages, sizeof *out->stage, by_order);
    qsort(out->level, (size_t)out->n_levels, sizeof *out->level, by_name);
    qsort(out->op, (size_t)out->n_ops, sizeof *out->op, by_busy);
    out->n_dropped = log->n_dropped;
    return LPO_OK;
}
