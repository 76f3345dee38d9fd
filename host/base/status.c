/* SPDX-License-Identifier: Apache-2.0 */
/* status.c -- error texts and the one log callback. */
#include "leanpo/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *lpo_status_text(lpo_status s) {
    switch (s) {
#define LPO_X(name, value, text)                                                                             \
    case name: return text;
        LPO_STATUS_LIST(LPO_X)
#undef LPO_X
    }
    return "unknown status";
}

/* Messages quote files, servers and programs of others: what would move a terminal's cursor becomes '?'. */
static void make_printable(char *s) {
    for (; *s; s++)
        if (((unsigned char)*s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7f) *s = '?';
}

lpo_status lpo_fail(lpo_error *err, lpo_status code, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        make_printable(err->msg);
    }
    return code;
}

lpo_status lpo_fail_in(lpo_error *err, lpo_status code, const char *fmt, ...) {
    if (!err) return code;
    char head[sizeof err->msg], tail[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    make_printable(head);
    memcpy(tail, err->msg, sizeof tail);
    size_t n = strlen(head);
    if (n > sizeof err->msg - 3) n = sizeof err->msg - 3;
    memcpy(err->msg, head, n);
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", tail);
    return err->code;
}

static lpo_log_fn *log_fn;
static void *log_user;

void lpo_log_set(lpo_log_fn *fn, void *user) {
    log_fn = fn;
    log_user = user;
}

void lpo_log(lpo_log_level level, const char *fmt, ...) {
    if (!log_fn) return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    make_printable(line);
    log_fn(log_user, level, line);
}
