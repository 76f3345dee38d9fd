/* SPDX-License-Identifier: Apache-2.0 */
/* train_judge.c -- judges that behave, and judges that do not: programs first, then a server of our own. */
#include "base/clock.h"
#include "train/judge.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What each program below begins with: $l is the request, $id its number. */
#define EACH  "while read -r l; do id=${l#*:}; id=${id%%,*}; "
#define REPLY "echo \"{\\\"id\\\":$id,\\\"score\\\":0.5}\"; "

enum { N = 6 };
static lpo_judge_ask asks[N];

static lpo_pairs_options options(void) {
    lpo_pairs_options o = lpo_pairs_options_default();
    o.judge_timeout_s = 5;
    o.judge_retries = 1;
    o.judge_parallel = 2;
    return o;
}

static lpo_status judge(const lpo_pairs_options *o, int n, lpo_judge_counts *c, lpo_error *err) {
    static char candidate[N][32];
    lpo_judge *j;
    for (int i = 0; i < n; i++) {
        snprintf(candidate[i], sizeof candidate[i], "answer %d", i);
        asks[i] = (lpo_judge_ask){"id", "what \"colour\"?", "red", candidate[i], "rate this", 0};
    }
    lpo_status s = lpo_judge_create(&j, o, 0, err);
    if (s) return s;
    s = lpo_judge_score(j, asks, n, err);
    lpo_judge_get_counts(c, j);
    lpo_judge_destroy(j);
    return s;
}

static lpo_status ask_program(const char *command, lpo_judge_counts *c, lpo_error *err) {
    lpo_pairs_options o = options();
    o.judge_cmd = command;
    return judge(&o, N, c, err);
}

static void all_are(double x) {
    for (int i = 0; i < N; i++) cr_expect_eq(asks[i].score, x, "candidate %d: %g", i, asks[i].score);
}

/* Truth: every candidate gets its own score, in whatever order the replies come. */
Test(judge_command, replies_in_any_order) {
    lpo_judge_counts c;
    lpo_error err;
    const char *swap =
        "while read -r a && read -r b; do for l in \"$b\" \"$a\"; do id=${l#*:}; id=${id%%,*}; "
        "k=${l##*answer }; echo \"{\\\"id\\\":$id,\\\"score\\\":0.${k%%\\\"*}}\"; done; done";
    cr_assert_eq(ask_program(swap, &c, &err), LPO_OK, "%s", err.msg);
    for (int i = 0; i < N; i++) cr_expect_float_eq(asks[i].score, i / 10., 1e-12);
    cr_expect(c.calls == N && !c.bad_replies && !c.restarts && !c.failed);
}

/* Truth: a program that hangs on one candidate costs that candidate its score, and no other. */
Test(judge_command, hangs_on_one) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_timeout_s = .3;
    o.judge_cmd = EACH "case $l in *'answer 2'*) sleep 60;; esac; " REPLY "done";
    cr_assert_eq(judge(&o, N, &c, &err), LPO_OK, "%s", err.msg);
    for (int i = 0; i < N; i++)
        cr_expect(i == 2 ? isnan(asks[i].score) : asks[i].score == .5, "%d: %g", i, asks[i].score);
    cr_expect(c.timeouts == 2 && c.failed == 1, "%lld timeouts", (long long)c.timeouts);
}

/* Truth: a program that never says anything ends the run with a message, in a bounded number of timeouts. */
Test(judge_command, hangs_always) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_timeout_s = .1;
    o.judge_retries = 2;
    o.judge_cmd = "cat >/dev/null";
    cr_expect_eq(judge(&o, N, &c, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "cat >/dev/null") && strstr(err.msg, "0.1 s"), "%s", err.msg);
    cr_expect_eq(c.restarts, 5);
}

/* Truth: what is no score (no JSON, an unknown id, a number over 1) is charged to one candidate, asked again,
 * and counted. */
Test(judge_command, lies) {
    lpo_judge_counts c;
    lpo_error err;
    const char *wrong[] = {"echo 'I like it'", "echo '{\\\"id\\\":99999,\\\"score\\\":0.5}'",
                           "echo \"{\\\"id\\\":$id,\\\"score\\\":1.5}\"",
                           "echo \"{\\\"id\\\":$id,\\\"score\\\":null}\"", "echo"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        char command[512];
        snprintf(command, sizeof command, EACH "case $l in *'answer 3'*) %s;; *) " REPLY ";; esac; done",
                 wrong[k]);
        /* dash has no empty command between ; and ;; */
        char *empty = strstr(command, "; ;;");
        if (empty) memmove(empty, empty + 1, strlen(empty));
        lpo_pairs_options o = options();
        o.judge_parallel = 1;
        o.judge_cmd = command;
        cr_assert_eq(judge(&o, N, &c, &err), LPO_OK, "%s: %s", command, err.msg);
        for (int i = 0; i < N; i++)
            cr_expect(i == 3 ? isnan(asks[i].score) : asks[i].score == .5, "%s", wrong[k]);
        cr_expect(c.bad_replies == 2 && c.failed == 1 && c.retries == 1, "%s", wrong[k]);
    }
}

/* Truth: a judge that only lies is given up after LPO_JUDGE_PATIENCE replies, naming the last. */
Test(judge_command, lies_always) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_retries = 100;
    o.judge_cmd = EACH "echo \"reply $id is nonsense\"; done";
    cr_expect_eq(judge(&o, N, &c, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "is nonsense"), "%s", err.msg);
    cr_expect_eq(c.bad_replies, LPO_JUDGE_PATIENCE);
}

/* Truth: a reply that comes after its candidate was asked again is known by its id, and is not taken for
 * another's. */
Test(judge_command, answers_late) {
    lpo_judge_counts c;
    lpo_error err;
    cr_assert_eq(ask_program("echo 'starting up'; " EACH REPLY "done", &c, &err), LPO_OK, "%s", err.msg);
    all_are(.5);
    cr_expect(c.bad_replies == 1 && c.late_replies == 1 && c.calls == N + 1);
}

/* Truth: a program that ends after every reply is started again, and nothing is lost; a candidate that kills
 * it loses its own score only. */
Test(judge_command, dies_often) {
    lpo_judge_counts c;
    lpo_error err;
    cr_assert_eq(ask_program(EACH REPLY "exit 0; done", &c, &err), LPO_OK, "%s", err.msg);
    all_are(.5);
    cr_expect_geq(c.restarts, N - 1);
    cr_assert_eq(ask_program(EACH "case $l in *'answer 1'*) exit 1;; esac; " REPLY "done", &c, &err), LPO_OK,
                 "%s", err.msg);
    for (int i = 0; i < N; i++) cr_expect(i == 1 ? isnan(asks[i].score) : asks[i].score == .5, "%d", i);
    cr_expect_eq(c.failed, 1);
}

/* Truth: a program that cannot run is told apart by its exit status. */
Test(judge_command, dies_always) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_retries = 9;
    o.judge_cmd = "exit 7";
    cr_expect_eq(judge(&o, N, &c, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "exit status 7"), "%s", err.msg);
}

/* Truth: a line without end fills no memory. */
Test(judge_command, floods) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_retries = 9;
    o.judge_cmd = "yes | tr -d '\\n'";
    cr_expect_eq(judge(&o, N, &c, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "a line of over"), "%s", err.msg);
}

/* Truth: the budget is never overdrawn, and its end is said. */
Test(judge_command, budget) {
    lpo_judge_counts c;
    lpo_error err;
    lpo_pairs_options o = options();
    o.judge_budget = 4;
    o.judge_cmd = EACH REPLY "done";
    cr_expect_eq(judge(&o, N, &c, &err), LPO_ELIMIT);
    cr_expect(strstr(err.msg, "--judge-budget"), "%s", err.msg);
    cr_expect_eq(c.calls, 4);
}

/* ---- a server ---- */

typedef struct server {
    int fd, port, n_requests;
    const char *const *status; /* NULL at the end: the last goes on; "hang": no reply */
    const char *content;       /* of the message */
    bool ok_header, ok_body;
    pthread_t thread;
} server;

static void respond(server *s, int fd) {
    char buf[8192];
    size_t n = 0;
    for (;;) { /* the header, and as much body as it says */
        const ssize_t got = read(fd, buf + n, sizeof buf - 1 - n);
        if (got <= 0) return;
        n += (size_t)got;
        buf[n] = 0;
        const char *end = strstr(buf, "\r\n\r\n"), *length = strstr(buf, "Content-Length: ");
        if (end && length && n >= (size_t)(end + 4 - buf) + (size_t)atoi(length + 16)) break;
    }
    s->ok_header = strstr(buf, "Authorization: Bearer s3cret\r\n") != NULL;
    s->ok_body = strstr(buf, "\"model\":\"gpt-x\"") && strstr(buf, "rate this");
    const char *status = s->status[0];
    s->n_requests++;
    if (s->status[1]) s->status++;
    if (!strcmp(status, "hang")) {
        sleep(60);
        return;
    }
    char body[512], reply[1024];
    snprintf(body, sizeof body, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"%s\"}}]}",
             s->content);
    const int len =
        snprintf(reply, sizeof reply,
                 "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: "
                 "close\r\n\r\n%s",
                 status, strlen(body), body);
    if (write(fd, reply, (size_t)len) < 0) return;
}

static void *serve(void *arg) {
    server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        respond(s, fd);
        close(fd);
    }
    return NULL;
}

static void start(server *s, const char *const *status, const char *content) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *s = (server){.status = status, .content = content};
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(s->fd >= 0 && !bind(s->fd, (struct sockaddr *)&a, n) && !listen(s->fd, 16) &&
              !getsockname(s->fd, (struct sockaddr *)&a, &n));
    s->port = ntohs(a.sin_port);
    if (status) cr_assert(!pthread_create(&s->thread, NULL, serve, s));
}

static lpo_status ask_server(server *s, int n, lpo_judge_counts *c, lpo_error *err) {
    static char url[64];
    lpo_pairs_options o = options();
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/chat/completions", s->port);
    o.judge_url = url;
    o.judge_model = "gpt-x";
    o.judge_key_env = "LPO_TEST_KEY";
    o.judge_parallel = 1;
    o.judge_timeout_s = .5;
    return judge(&o, n, c, err);
}

static bool no_curl(void) {
    setenv("LPO_TEST_KEY", "s3cret", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    void *lib = dlopen("libcurl.so.4", RTLD_NOW);
    return !lib && !(lib = dlopen("libcurl-gnutls.so.4", RTLD_NOW));
}
#define NEEDS_CURL()                                                                                         \
    if (no_curl()) cr_skip("libcurl is not installed")

/* Truth: the number in the reply is the score; the key travels in its header, the prompt in the body. */
Test(judge_http, scores) {
    NEEDS_CURL();
    lpo_judge_counts c;
    lpo_error err;
    server s;
    start(&s, (const char *[]){"200 OK", NULL}, "Score: 0.75");
    cr_assert_eq(ask_server(&s, N, &c, &err), LPO_OK, "%s", err.msg);
    all_are(.75);
    cr_expect(s.ok_header && s.ok_body && c.calls == N && !c.retries);
}

/* Truth: a server that is busy is asked again; one that says nothing in time, too. */
Test(judge_http, passing_failures) {
    NEEDS_CURL();
    lpo_judge_counts c;
    lpo_error err;
    server s;
    start(&s, (const char *[]){"429 Too Many Requests", "200 OK", NULL}, "1");
    cr_assert_eq(ask_server(&s, 1, &c, &err), LPO_OK, "%s", err.msg);
    cr_expect(asks[0].score == 1 && c.retries == 1 && c.calls == 2);
    start(&s, (const char *[]){"hang", NULL}, "1");
    cr_assert_eq(ask_server(&s, 1, &c, &err), LPO_OK, "%s", err.msg);
    cr_expect(isnan(asks[0].score) && c.timeouts == 2 && c.failed == 1);
}

/* Truth: a reply without a number in [0,1] is no score. */
Test(judge_http, lies) {
    NEEDS_CURL();
    lpo_judge_counts c;
    lpo_error err;
    server s;
    /* Of several numbers none can be told to be the score. */
    static const char *const wrong[] = {"fine", "7", "-0.5", "", "1 of 4 facts, so 0.25", "8/10"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        start(&s, (const char *[]){"200 OK", NULL}, wrong[k]);
        cr_assert_eq(ask_server(&s, 1, &c, &err), LPO_OK, "%s", err.msg);
        cr_expect(isnan(asks[0].score) && c.bad_replies == 2 && c.failed == 1);
    }
}

/* Truth: a refused key ends the run at once, and no message holds the key. */
Test(judge_http, refused_key) {
    NEEDS_CURL();
    lpo_judge_counts c;
    lpo_error err;
    server s;
    start(&s, (const char *[]){"401 Unauthorized", NULL}, "no such key: s3cret");
    cr_expect_eq(ask_server(&s, N, &c, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "401") && strstr(err.msg, "no such key: ***"), "%s", err.msg);
    cr_expect_eq(c.calls, 1);
    unsetenv("LPO_TEST_KEY");
    cr_expect_eq(ask_server(&s, N, &c, &err), LPO_ENOTFOUND);
    cr_expect(strstr(err.msg, "LPO_TEST_KEY"), "%s", err.msg);
}

/* Truth: where nobody listens, the run ends and says so. */
Test(judge_http, connection_refused) {
    NEEDS_CURL();
    lpo_judge_counts c;
    lpo_error err;
    server s;
    start(&s, NULL, NULL);
    close(s.fd);
    static char url[64];
    static lpo_judge_ask many[64];
    lpo_pairs_options o = options();
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    o.judge_url = url;
    o.judge_retries = 0;
    lpo_judge *j;
    for (int i = 0; i < 64; i++) many[i] = (lpo_judge_ask){"id", "q", "a", "c", "rate this", 0};
    cr_assert_eq(lpo_judge_create(&j, &o, 0, &err), LPO_OK);
    cr_expect_eq(lpo_judge_score(j, many, 64, &err), LPO_EIO);
    lpo_judge_get_counts(&c, j);
    cr_expect(strstr(err.msg, url) && strstr(err.msg, "onnect"), "%s", err.msg);
    cr_expect_lt(c.calls, 20);
    lpo_judge_destroy(j);
}

/* Truth: a run that is stopped does not wait for its judge, whichever kind and however patient it is. */
static void *cancel_soon(void *judge) {
    usleep(200000);
    lpo_judge_cancel(judge);
    return NULL;
}

static void cancelled(const lpo_pairs_options *o) {
    lpo_judge *j;
    lpo_error err;
    pthread_t thread;
    asks[0] = (lpo_judge_ask){"id", "q", "a", "c", "rate this", 0};
    cr_assert_eq(lpo_judge_create(&j, o, 0, &err), LPO_OK);
    pthread_create(&thread, NULL, cancel_soon, j);
    const double begin_s = lpo_now_s();
    cr_expect_eq(lpo_judge_score(j, asks, 1, &err), LPO_ECANCELED, "%s", err.msg);
    cr_expect_lt(lpo_now_s() - begin_s, 3); /* libcurl looks up once a second */
    pthread_join(thread, NULL);
    lpo_judge_destroy(j);
}

Test(judge, cancel) {
    lpo_pairs_options o = options();
    server s;
    char url[64];
    o.judge_timeout_s = 60;
    o.judge_cmd = "sleep 60";
    cancelled(&o);
    NEEDS_CURL();
    o.judge_cmd = NULL;
    start(&s, (const char *[]){"hang", NULL}, "1");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    o.judge_url = url;
    cancelled(&o);
}

/* Truth: a key given where its variable's name belongs is refused, and not repeated. */
Test(judge, key_on_the_command_line) {
    lpo_error err;
    lpo_judge *j;
    lpo_pairs_options o = options();
    o.judge_url = "http://127.0.0.1:9/";
    o.judge_key_env = "sk-very-secret";
    NEEDS_CURL();
    cr_expect_eq(lpo_judge_create(&j, &o, 0, &err), LPO_EINVAL);
    cr_expect(!strstr(err.msg, "sk-very-secret"), "%s", err.msg);
}

/* Truth: what is quoted is one line, cut between letters. */
Test(judge, quote) {
    char out[12];
    lpo_judge_quote(out, sizeof out, "  a\n\n b\t");
    cr_expect_str_eq(out, "a b");
    lpo_judge_quote(out, sizeof out, "1234567\xc3\xa4 and more");
    cr_expect_str_eq(out, "1234567...");
    lpo_judge_quote(out, sizeof out, "");
    cr_expect_str_eq(out, "");
}

/* Truth: what is no judge at all is refused before anything is asked. */
Test(judge, refused_options) {
    lpo_error err;
    lpo_judge *j;
    lpo_pairs_options o = options();
    o.judge_url = "ftp://example.org/";
    cr_expect_eq(lpo_judge_create(&j, &o, 0, &err), LPO_EINVAL);
    o.judge_cmd = "true";
    cr_expect_eq(lpo_judge_create(&j, &o, 0, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "choose one"), "%s", err.msg);
}
