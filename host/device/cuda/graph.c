/* SPDX-License-Identifier: Apache-2.0 */
/* graph.c -- a sequence is what is launched from one settle (or the end of a known sequence) to the next. Its
 * first coming is launched one by one and noted; the second is held back launch by launch while it equals
 * what was noted, then captured, and that graph is launched; later ones find the graph. On a difference that
 * no other note knows, what was held back is launched as it came; a note that misleads twice is dropped, and
 * each such miss in a row doubles the time in which nothing is noted, so steps that begin alike and go on
 * differently are soon left alone. A step longer than MOST is never noted: its launches hide behind its
 * work. */
#include "device/cuda/graph.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST = 16, MOST = 1024, KNOWN = 8, LONGEST_PAUSE = 1024 };

typedef struct sequence {
    lpo_gpu_launch *launch; /* NULL: none */
    int n, missed;          /* times it misled in a row */
    uint64_t used;
    cuda_exec exec; /* NULL: seen once */
} sequence;

struct cuda_graphs {
    const cuda_api *cu;
    cuda_stream stream;
    cuda_launch_fn *launch;
    void *ctx;
    sequence known[KNOWN], *match; /* all of now, held back, begins it; NULL: nothing is held back */
    lpo_gpu_launch now[MOST];
    int n; /* of now; MOST + 1: more than can be noted */
    int pause, next_pause;
    uint64_t clock;
    bool off; /* capturing failed */
};

cuda_graphs *cuda_graphs_create(const cuda_api *cu, cuda_stream stream, cuda_launch_fn *launch, void *ctx) {
    cuda_graphs *g = cu->GraphLaunch ? calloc(1, sizeof *g) : NULL;
    if (!g) return NULL;
    g->cu = cu;
    g->stream = stream;
    g->launch = launch;
    g->ctx = ctx;
    return g;
}

/* A graph that still runs is freed by the driver when it is done. */
static void drop(cuda_graphs *g, sequence *s) {
    if (s->exec) g->cu->GraphExecDestroy(s->exec);
    free(s->launch);
    *s = (sequence){0};
}

void cuda_graphs_destroy(cuda_graphs *g) {
    if (!g) return;
    for (int i = 0; i < KNOWN; i++) drop(g, &g->known[i]);
    free(g);
}

static bool same(const lpo_gpu_launch *a, const lpo_gpu_launch *b) {
    if (a->kernel != b->kernel || memcmp(a->groups, b->groups, sizeof a->groups) ||
        a->local_bytes != b->local_bytes || memcmp(a->n, b->n, sizeof a->n) ||
        memcmp(a->real, b->real, sizeof a->real))
        return false;
    for (int i = 0; i < LPO_GPU_MAX_TENSORS; i++)
        if (a->tensor[i].buffer != b->tensor[i].buffer ||
            a->tensor[i].offset_bytes != b->tensor[i].offset_bytes ||
            a->tensor[i].dtype != b->tensor[i].dtype)
            return false;
    return true;
}

/* Do the launches of now, from this one on, begin s? */
static bool begins(const cuda_graphs *g, const sequence *s, int from) {
    if (g->n > s->n) return false;
    for (int i = from; i < g->n; i++)
        if (!same(&g->now[i], &s->launch[i])) return false;
    return true;
}

/* The shortest that now begins: what follows it is a sequence of its own. */
static sequence *find(cuda_graphs *g) {
    sequence *best = NULL;
    for (sequence *s = g->known; s < g->known + KNOWN; s++)
        if (s->launch && (!best || s->n < best->n) && begins(g, s, 0)) best = s;
    return best;
}

static lpo_status launch_first(cuda_graphs *g, int n, lpo_error *err) {
    lpo_status st = LPO_OK;
    for (int i = 0; i < n && !st; i++) st = g->launch(g->ctx, &g->now[i], err);
    return st;
}

static void note(cuda_graphs *g) {
    sequence *s = g->known;
    if (g->off || g->n < LEAST || g->n > MOST) return;
    if (g->pause > 0) {
        g->pause--;
        return;
    }
    for (sequence *other = g->known + 1; other < g->known + KNOWN; other++)
        if (other->used < s->used) s = other;
    drop(g, s);
    s->launch = malloc((size_t)g->n * sizeof *s->launch);
    if (!s->launch) return;
    memcpy(s->launch, g->now, (size_t)g->n * sizeof *s->launch);
    s->n = g->n;
    s->used = ++g->clock;
}

/* Modules are loaded and algorithms chosen since the sequence first came: nothing but launches happens. */
static int capture(cuda_graphs *g, sequence *s, int n) {
    cuda_graph graph = NULL;
    cuda_exec exec = NULL;
    int rc = g->cu->StreamBeginCapture(g->stream, CUDA_THREAD_LOCAL);
    if (rc) return rc;
    const lpo_status st = launch_first(g, n, NULL);
    rc = g->cu->StreamEndCapture(g->stream, &graph);
    if (rc) return rc;
    rc = st ? CUDA_E_UNKNOWN : g->cu->GraphInstantiate(&exec, graph, 0);
    g->cu->GraphDestroy(graph);
    if (!rc) s->exec = exec;
    return rc;
}

/* All of a sequence is there: one launch. A driver that cannot is asked no more. */
static lpo_status replay(cuda_graphs *g, lpo_error *err) {
    sequence *s = g->match;
    const int n = g->n;
    char words[200];
    g->match = NULL;
    g->n = 0;
    int rc = s->exec ? 0 : capture(g, s, n);
    if (!rc) rc = g->cu->GraphLaunch(s->exec, g->stream);
    if (!rc) {
        s->used = ++g->clock;
        s->missed = g->pause = g->next_pause = 0;
        return LPO_OK;
    }
    cuda_error(words, sizeof words, g->cu, rc);
    lpo_log(LPO_LOG_WARN, "cuda: launches one by one, a graph of %d did not come about: %s", n, words);
    g->off = true;
    cuda_graphs_forget(g, 0);
    return launch_first(g, n, err);
}

lpo_status cuda_graphs_add(cuda_graphs *g, const lpo_gpu_launch *l, lpo_error *err) {
    const int before = g->n;
    sequence *was = g->match;
    if (before < MOST) g->now[before] = *l;
    if (before <= MOST) g->n++;
    if (before == 0 || (was && !begins(g, was, before))) g->match = find(g);
    if (g->match) return g->n == g->match->n ? replay(g, err) : LPO_OK;
    if (!was) return g->launch(g->ctx, l, err);
    if (++was->missed > 1) drop(g, was);
    g->pause = g->next_pause;
    if (g->next_pause < LONGEST_PAUSE) g->next_pause += g->next_pause + 1;
    const lpo_status st = launch_first(g, before, err);
    return st ? st : g->launch(g->ctx, l, err);
}

lpo_status cuda_graphs_settle(cuda_graphs *g, lpo_error *err) {
    if (!g || !g->n) return LPO_OK;
    const int n = g->n, held = g->match ? n : 0;
    note(g);
    g->match = NULL;
    g->n = 0;
    return launch_first(g, held, err);
}

void cuda_graphs_forget(cuda_graphs *g, cuda_ptr memory) {
    for (int k = 0; g && k < KNOWN; k++) {
        sequence *s = &g->known[k];
        bool names = !memory;
        for (int i = 0; i < s->n && !names; i++)
            for (int j = 0; j < LPO_GPU_MAX_TENSORS; j++)
                names |= (cuda_ptr)(uintptr_t)s->launch[i].tensor[j].buffer == memory;
        if (names) drop(g, s);
    }
}
