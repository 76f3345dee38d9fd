/* SPDX-License-Identifier: Apache-2.0 */
/* status.h -- results, errors and the log callback: the vocabulary of every other header.
 * A fallible function returns lpo_status (0 or negative) and, on failure, fills the caller's lpo_error with
 * what went wrong, where (file, byte offset or line) and what to try. The library never exits and never
 * prints. */
#ifndef LEANPO_STATUS_H
#define LEANPO_STATUS_H

#if defined(__GNUC__)
#define LPO_API               __attribute__((visibility("default")))
#define LPO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define LPO_API
#define LPO_PRINTF(fmt, args)
#endif

/* X(name, value, text) */
#define LPO_STATUS_LIST(X)                                                                                   \
    X(LPO_OK, 0, "ok")                                                                                       \
    X(LPO_EINVAL, -1, "invalid argument")                                                                    \
    X(LPO_ENOMEM, -2, "out of memory")                                                                       \
    X(LPO_EIO, -3, "input/output error")                                                                     \
    X(LPO_EFORMAT, -4, "malformed file")                                                                     \
    X(LPO_ENOTFOUND, -5, "not found")                                                                        \
    X(LPO_EUNSUPPORTED, -6, "unsupported")                                                                   \
    X(LPO_ELIMIT, -7, "limit exceeded")                                                                      \
    X(LPO_EDEVICE, -8, "device error")                                                                       \
    X(LPO_ENUMERIC, -9, "numeric error")                                                                     \
    X(LPO_ECANCELED, -10, "canceled")                                                                        \
    X(LPO_EEND, -11, "end of data")

typedef enum lpo_status {
#define LPO_X(name, value, text) name = value,
    LPO_STATUS_LIST(LPO_X)
#undef LPO_X
} lpo_status;

typedef struct lpo_error {
    lpo_status code;
    char msg[500]; /* one line, UTF-8, no trailing newline or full stop */
} lpo_error;

/* The fixed text of a status; never NULL. */
LPO_API const char *lpo_status_text(lpo_status s);

/* Fill err (may be NULL) and return code, so that `return lpo_fail(err, LPO_EFORMAT, "%s: ...", path);` reads
 * well. */
LPO_API lpo_status lpo_fail(lpo_error *err, lpo_status code, const char *fmt, ...) LPO_PRINTF(3, 4);

/* Put "context: " in front of an error already there; returns err->code (code when err is NULL). */
LPO_API lpo_status lpo_fail_in(lpo_error *err, lpo_status code, const char *fmt, ...) LPO_PRINTF(3, 4);

typedef enum lpo_log_level { LPO_LOG_DEBUG, LPO_LOG_INFO, LPO_LOG_WARN } lpo_log_level;
typedef void lpo_log_fn(void *user, lpo_log_level level, const char *line);

/* Set once at start-up, before threads; NULL silences (the default). The callback may be called from any
 * thread. */
LPO_API void lpo_log_set(lpo_log_fn *fn, void *user);
LPO_API void lpo_log(lpo_log_level level, const char *fmt, ...) LPO_PRINTF(2, 3);

/* Progress of long work: done of total (0 = unknown) things named by `what`. Called from one thread at a
 * time. Returns true when the caller wants the work to stop (Ctrl-C): the work then ends with LPO_ECANCELED,
 * its files intact. */
typedef int lpo_progress_fn(void *user, const char *what, long long done, long long total);

#endif
