/* SPDX-License-Identifier: Apache-2.0 */
/* trace_card.c -- the software card's lines as spans: see trace_file.h. A line is a run,
 *   {"card":0,"kernel":"preprocess","cu":"preprocess_1","start_s":..,"seconds":..,"cycles":N|null,"clock_hz":..,
 *    "bytes":N|null,"banks":{..}}
 * or a transfer, {"card":0,"dma":"h2d","bank":"HBM[0]","bytes":..,"start_s":..,"seconds":..}. start_s is the
 * clock of lpo_now_s. A last line cut short by a crash is left out. */
#include "profile/trace_file.h"

#include "base/file.h"
#include "base/json.h"
#include "profile/pcie.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t MAX_FILE = (size_t)1 << 30;

typedef struct bounds {
    double from_s, to_s;
} bounds;

static bool add(lpo_trace_log *log, size_t *cap, const lpo_span *s, int thread) {
    if (log->n_spans == *cap) {
        lpo_trace_span *more = realloc(log->span, 2 * (*cap + 16) * sizeof *more);
        if (!more) return false;
        log->span = more;
        *cap = 2 * (*cap + 16);
    }
    log->span[log->n_spans++] = (lpo_trace_span){*s, thread};
    return true;
}

/* What a card did, as two spans: how long the emulation took, and how long the model says a card would. */
static bool add_line(lpo_trace_log *log, size_t *cap, const json_t *line, bounds b, int thread) {
    char device[48], emulated[64], name[128];
    const double start_s = json_number_value(json_object_get(line, "start_s"));
    const double seconds = json_number_value(json_object_get(line, "seconds"));
    const double bytes = json_number_value(json_object_get(line, "bytes"));
    const char *kernel = json_string_value(json_object_get(line, "kernel"));
    const char *dma = json_string_value(json_object_get(line, "dma"));
    if (start_s + seconds < b.from_s || start_s > b.to_s || (!kernel && !dma)) return true;
    snprintf(device, sizeof device, "fpga:%d", (int)json_integer_value(json_object_get(line, "card")));
    snprintf(emulated, sizeof emulated, "emulated:%s", device);
    const char *cu = json_string_value(json_object_get(line, "cu"));
    const char *bank = json_string_value(json_object_get(line, "bank"));
    if (kernel)
        snprintf(name, sizeof name, "%.60s %.60s", kernel, cu ? cu : "");
    else
        snprintf(name, sizeof name, "%.8s %.60s", dma, bank ? bank : "");
    const char *stage = kernel ? "kernel" : "copy";
    lpo_span s = {lpo_trace_intern(stage),
                  lpo_trace_intern(emulated),
                  lpo_trace_intern(name),
                  start_s,
                  seconds,
                  bytes,
                  0,
                  false};
    if (!add(log, cap, &s, thread)) return false;
    const double cycles = json_number_value(json_object_get(line, "cycles"));
    const double clock_hz = json_number_value(json_object_get(line, "clock_hz"));
    s.seconds = kernel                ? (clock_hz > 0 ? cycles / clock_hz : 0)
                : !strcmp(dma, "h2d") ? lpo_pcie_up_s(bytes)
                                      : lpo_pcie_down_s(bytes);
    s.device = lpo_trace_intern(device);
    s.modelled = true;
    return s.seconds > 0 ? add(log, cap, &s, thread) : true;
}

static lpo_status add_thread(int *thread, lpo_trace_log *log, lpo_error *err) {
    const char **more = realloc(log->thread, ((size_t)log->n_threads + 2) * sizeof *more);
    if (!more) return lpo_fail(err, LPO_ENOMEM, "out of memory for the card's trace");
    log->thread = more;
    *thread = log->n_threads++;
    log->thread[*thread] = lpo_trace_intern("card");
    return LPO_OK;
}

lpo_status lpo_trace_merge_card(lpo_trace_log *log, const char *path, lpo_error *err) {
    char *text;
    size_t size, cap = log->n_spans;
    int thread = 0;
    if (!lpo_path_exists(path) || !log->n_spans) return LPO_OK;
    lpo_status s = lpo_file_read(&text, &size, path, MAX_FILE, err);
    if (s) return s;
    s = add_thread(&thread, log, err);
    bounds b = {log->span[0].span.start_s, 0};
    for (size_t i = 0; i < log->n_spans; i++) {
        const double end_s = log->span[i].span.start_s + log->span[i].span.seconds;
        if (end_s > b.to_s) b.to_s = end_s;
    }
    int n = 0;
    for (char *p = text, *end; !s && (end = strchr(p, '\n')); p = end + 1) {
        char where[600];
        json_t *line = NULL;
        n++;
        snprintf(where, sizeof where, "%.500s:%d", path, n);
        if (end == p) continue;
        s = lpo_json_parse(&line, p, (size_t)(end - p), where, err);
        if (!s && !add_line(log, &cap, line, b, thread))
            s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
        json_decref(line);
    }
    free(text);
    lpo_trace_log_sort(log);
    return s;
}

lpo_status lpo_trace_save_now(const char *path, lpo_error *err) {
    lpo_trace_log log;
    const char *card = getenv("LEANPO_CARD_TRACE"), *emulation = getenv("XCL_EMULATION_MODE");
    if (emulation && *emulation) lpo_trace_count("is:emulation", 1);
    lpo_trace_stop();
    lpo_status s = lpo_trace_read(&log, err);
    if (!s && card && *card) s = lpo_trace_merge_card(&log, card, err);
    if (!s) s = lpo_trace_save(path, &log, err);
    lpo_trace_log_clear(&log);
    return s;
}
