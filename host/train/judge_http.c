/* SPDX-License-Identifier: Apache-2.0 */
/* judge_http.c -- a judge behind an OpenAI-compatible chat endpoint, through libcurl.
 * libcurl is found when the first judge is opened, not when leanpo is built or started: only this one option
 * needs it, and with its thirty libraries it would double the start of every command. Its C interface is a
 * stable ABI; the few numbers used are below. The key comes from the environment alone and goes into one
 * header; it is never part of a message. A few threads ask at a time, each with its own connection. What may
 * pass (no connection, no answer in time, 408, 429, 5xx, a reply without a number) is tried again after a
 * growing pause; any other status ends the run: the next request would fare no better. */
#include "base/json.h"
#include "train/judge.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    OPT_NOPROGRESS = 43,
    OPT_XFERINFODATA = 10057,
    OPT_XFERINFOFUNCTION = 20219,
    OPT_WRITEDATA = 10001,
    OPT_URL = 10002,
    OPT_ERRORBUFFER = 10010,
    OPT_POSTFIELDS = 10015,
    OPT_HTTPHEADER = 10023,
    OPT_POSTFIELDSIZE = 60,
    OPT_NOSIGNAL = 99,
    OPT_TIMEOUT_MS = 155,
    OPT_PROTOCOLS = 181,
    OPT_WRITEFUNCTION = 20011,
    PROTO_HTTP_HTTPS = 3,
    INFO_RESPONSE_CODE = 0x200002,
    CODE_TIMEDOUT = 28,
    ERROR_SIZE = 256,
    MAX_BODY = 1 << 20
};

typedef struct curl_calls {
    void *lib;
    void *(*easy_init)(void);
    void (*easy_cleanup)(void *);
    int (*easy_setopt)(void *, int, ...);
    int (*easy_perform)(void *);
    int (*easy_getinfo)(void *, int, ...);
    void *(*slist_append)(void *, const char *);
    void (*slist_free_all)(void *);
    int (*global_init)(long);
} curl_calls;

typedef struct http {
    const lpo_pairs_options *o;
    lpo_judge_tally *tally;
    curl_calls curl;
    void *headers;
    /* one call of score: */
    lpo_judge_ask *asks;
    int n;
    atomic_int next;
    pthread_mutex_t lock; /* guards status, err */
    lpo_status status;
    lpo_error err;
} http;

typedef struct body {
    char *text;
    size_t n;
    bool too_long;
} body;

static lpo_status load_curl(curl_calls *c, lpo_error *err) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !c->lib; i++)
        c->lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!c->lib)
        return lpo_fail(
            err, LPO_ENOTFOUND,
            "--judge-url needs libcurl.so.4, which is not installed (Debian: apt-get install libcurl4)");
    const struct {
        const char *name;
        void **to;
    } all[] = {{"curl_easy_init", (void **)&c->easy_init},
               {"curl_easy_cleanup", (void **)&c->easy_cleanup},
               {"curl_easy_setopt", (void **)&c->easy_setopt},
               {"curl_easy_perform", (void **)&c->easy_perform},
               {"curl_easy_getinfo", (void **)&c->easy_getinfo},
               {"curl_slist_append", (void **)&c->slist_append},
               {"curl_slist_free_all", (void **)&c->slist_free_all},
               {"curl_global_init", (void **)&c->global_init}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(*all[i].to = dlsym(c->lib, all[i].name)))
            return lpo_fail(err, LPO_ENOTFOUND, "libcurl lacks %s", all[i].name);
    c->global_init(3); /* everything; not thread-safe, so here */
    return LPO_OK;
}

static void http_close(void *self) {
    http *h = self;
    if (h->headers) h->curl.slist_free_all(h->headers);
    /* The library stays loaded: it may have threads and atexit handlers of its own. */
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static lpo_status make_headers(http *h, lpo_error *err) {
    h->headers = h->curl.slist_append(NULL, "Content-Type: application/json");
    const char *name = h->o->judge_key_env;
    if (!name || !name[0]) return LPO_OK;
    /* Who gives the key in place of the name shall not find it in a log. */
    if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
        return lpo_fail(err, LPO_EINVAL,
                        "--judge-key-env takes the name of an environment variable (OPENAI_API_KEY), not the "
                        "key itself");
    const char *key = getenv(name);
    if (!key || !key[0])
        return lpo_fail(err, LPO_ENOTFOUND,
                        "--judge-key-env %s: the environment has no such variable, or it is empty (export it "
                        "first)",
                        name);
    char *line = NULL;
    if (asprintf(&line, "Authorization: Bearer %s", key) < 0)
        return lpo_fail(err, LPO_ENOMEM, "out of memory");
    h->headers = h->curl.slist_append(h->headers, line);
    memset(line, 0, strlen(line));
    free(line);
    return LPO_OK;
}

static lpo_status http_open(void **self, const lpo_pairs_options *o, lpo_judge_tally *t, lpo_error *err) {
    if (strncmp(o->judge_url, "http://", 7) && strncmp(o->judge_url, "https://", 8))
        return lpo_fail(err, LPO_EINVAL,
                        "--judge-url %s: expected http:// or https://, up to .../chat/completions",
                        o->judge_url);
    http *h = calloc(1, sizeof *h);
    if (!h) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    h->o = o;
    h->tally = t;
    pthread_mutex_init(&h->lock, NULL);
    lpo_status s = load_curl(&h->curl, err);
    if (!s) s = make_headers(h, err);
    if (s)
        http_close(h);
    else
        *self = h;
    return s;
}

static size_t on_body(char *data, size_t size, size_t n, void *user) {
    body *b = user;
    b->too_long = b->n + size * n > MAX_BODY;
    if (b->too_long) return 0;
    char *p = realloc(b->text, b->n + size * n + 1);
    if (!p) return 0;
    memcpy(p + b->n, data, size * n);
    b->text = p;
    b->n += size * n;
    p[b->n] = 0;
    return size * n;
}

/* The one number of a text; -1 where there is none, or several: of "1 of 4 facts, so 0.25" none can be told
 * to be the score. */
static double only_number(const char *text) {
    double x = -1;
    for (const char *p = text; *p;) {
        const bool digit = *p >= '0' && *p <= '9', point = *p == '.' && p[1] >= '0' && p[1] <= '9';
        if (!digit && !point) {
            p++;
            continue;
        }
        if (x >= 0) return -1;
        char *end;
        x = strtod(p, &end);
        if (p > text && p[-1] == '-' && x > 0) return -1;
        p = end;
    }
    return lpo_judge_valid(x) ? x : -1;
}

/* The score in a chat reply, -1: none; said: the reply's text, or what came in its place. */
static double read_score(char said[200], const body *b) {
    json_t *o = json_loadb(b->text ? b->text : "", b->n, 0, NULL);
    const json_t *message = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message");
    const char *text = json_string_value(json_object_get(message, "content"));
    const double x = text ? only_number(text) : -1;
    lpo_judge_quote(said, 200, text && text[0] ? text : b->n ? b->text : "(empty)");
    json_decref(o);
    return x;
}

/* Cut short when cancelled. */
static void pause_before(const lpo_judge_tally *t, int attempt) {
    for (int ms = 250 << (attempt < 7 ? attempt : 7); ms > 0 && !atomic_load(&t->cancelled);
         ms -= LPO_JUDGE_TICK_MS)
        nanosleep(&(struct timespec){0, LPO_JUDGE_TICK_MS * 1000000}, NULL);
}

/* A server may say the key it refuses. */
static void hide_key(char *said, const lpo_pairs_options *o) {
    const char *key = o->judge_key_env ? getenv(o->judge_key_env) : NULL;
    const size_t n = key ? strlen(key) : 0;
    for (char *p; n > 3 && (p = strstr(said, key));) {
        memcpy(p, "***", 3);
        memmove(p + 3, p + n, strlen(p + n) + 1);
    }
}

/* libcurl asks every second or so, and more often while data move. */
static int on_progress(void *user, int64_t a, int64_t b, int64_t c, int64_t d) {
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&((const lpo_judge_tally *)user)->cancelled);
}

static void fail_all(http *h, const lpo_error *err) {
    pthread_mutex_lock(&h->lock);
    if (!h->status) {
        h->status = err->code;
        h->err = *err;
    }
    pthread_mutex_unlock(&h->lock);
    atomic_store(&h->next, h->n);
}

typedef enum outcome { SCORED, AGAIN, HOPELESS } outcome;

/* One request; why: what went wrong, for the last of them to tell. */
static outcome call(http *h, void *curl, lpo_judge_ask *a, const char *request, char why[400]) {
    char text[ERROR_SIZE] = "", said[200];
    body b = {0};
    long code = 0;
    outcome is = AGAIN;
    h->curl.easy_setopt(curl, OPT_URL, h->o->judge_url);
    h->curl.easy_setopt(curl, OPT_PROTOCOLS, (long)PROTO_HTTP_HTTPS);
    h->curl.easy_setopt(curl, OPT_HTTPHEADER, h->headers);
    h->curl.easy_setopt(curl, OPT_POSTFIELDS, request);
    h->curl.easy_setopt(curl, OPT_POSTFIELDSIZE, (long)strlen(request));
    h->curl.easy_setopt(curl, OPT_TIMEOUT_MS, (long)ceil(1000 * h->o->judge_timeout_s));
    h->curl.easy_setopt(curl, OPT_NOSIGNAL, 1L);
    h->curl.easy_setopt(curl, OPT_WRITEFUNCTION, on_body);
    h->curl.easy_setopt(curl, OPT_WRITEDATA, &b);
    h->curl.easy_setopt(curl, OPT_ERRORBUFFER, text);
    h->curl.easy_setopt(curl, OPT_NOPROGRESS, 0L);
    h->curl.easy_setopt(curl, OPT_XFERINFOFUNCTION, on_progress);
    h->curl.easy_setopt(curl, OPT_XFERINFODATA, h->tally);
    const int failed = h->curl.easy_perform(curl);
    h->curl.easy_setopt(curl, OPT_ERRORBUFFER, NULL);
    h->curl.easy_getinfo(curl, INFO_RESPONSE_CODE, &code);
    if (failed) {
        if (failed == CODE_TIMEDOUT) atomic_fetch_add(&h->tally->timeouts, 1);
        snprintf(why, 400, "%s",
                 b.too_long ? "its reply is over 1 MiB"
                 : text[0]  ? text
                            : "the transfer failed");
    } else if (code >= 200 && code < 300) {
        const double x = read_score(said, &b);
        if (lpo_judge_valid(x)) {
            a->score = x;
            is = SCORED;
        } else {
            atomic_fetch_add(&h->tally->bad_replies, 1);
            snprintf(why, 400, "it replied \"%s\", which holds no single number from 0 to 1", said);
        }
    } else {
        if (code != 408 && code != 429 && code < 500) is = HOPELESS;
        if (b.n) hide_key(b.text, h->o);
        lpo_judge_quote(said, sizeof said, b.n ? b.text : "(empty)");
        snprintf(why, 400, "HTTP status %ld%s: %s", code,
                 code < 400 ? " (moved: give the new address)"
                 : code == 401 || code == 403
                     ? " (its key comes from the variable that --judge-key-env names)"
                     : "",
                 said);
    }
    free(b.text);
    return is;
}

static char *make_request(const http *h, const lpo_judge_ask *a) {
    json_t *o = json_pack("{s[{ss ss}] sf si}", "messages", "role", "user", "content", a->prompt,
                          "temperature", 0.0, "max_tokens", 16);
    if (o && h->o->judge_model) json_object_set_new(o, "model", json_string(h->o->judge_model));
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

static void ask_one(http *h, void *curl, lpo_judge_ask *a) {
    char why[400] = "";
    lpo_error err;
    char *request = make_request(h, a);
    outcome is = AGAIN;
    if (!request) {
        lpo_fail(&err, LPO_ENOMEM, "out of memory");
        fail_all(h, &err);
        return;
    }
    for (int i = 0; i <= h->o->judge_retries && is == AGAIN; i++) {
        if (i) {
            atomic_fetch_add(&h->tally->retries, 1);
            pause_before(h->tally, i);
        }
        if (lpo_judge_may_call(h->tally, h->o, &err)) {
            fail_all(h, &err);
            free(request);
            return;
        }
        is = call(h, curl, a, request, why);
    }
    free(request);
    if (is == SCORED) {
        atomic_store(&h->tally->bad_in_a_row, 0);
        return;
    }
    atomic_fetch_add(&h->tally->failed, 1);
    /* A few candidates in a row without a score: the server is not there, or is no judge. */
    if (is == HOPELESS || atomic_fetch_add(&h->tally->bad_in_a_row, 1) + 1 >= LPO_JUDGE_PATIENCE / 4) {
        lpo_fail(&err, LPO_EIO, "the judge at %.200s: %s; once it works, --resume goes on", h->o->judge_url,
                 why);
        fail_all(h, &err);
    }
}

static void *ask_many(void *arg) {
    http *h = arg;
    void *curl = h->curl.easy_init();
    for (int i; curl && (i = atomic_fetch_add(&h->next, 1)) < h->n;) ask_one(h, curl, &h->asks[i]);
    if (curl) h->curl.easy_cleanup(curl);
    return NULL;
}

static lpo_status http_score(void *self, lpo_judge_ask *asks, int n, lpo_error *err) {
    http *h = self;
    h->asks = asks;
    h->n = n;
    h->status = LPO_OK;
    atomic_store(&h->next, 0);
    pthread_t thread[256];
    int started = 0, want = h->o->judge_parallel < n ? h->o->judge_parallel : n;
    while (started < want - 1 && !pthread_create(&thread[started], NULL, ask_many, h)) started++;
    ask_many(h);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    if (h->status && err) *err = h->err;
    return h->status;
}

const lpo_judge_way lpo_judge_http = {http_open, http_close, http_score};
