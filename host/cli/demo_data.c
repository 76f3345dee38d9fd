/* SPDX-License-Identifier: Apache-2.0 */
/* demo_data.c -- the files of lines between the demo's stages. Every choice is a hash of the line's id, so
 * the files depend on the world alone. */
#include "demo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int video_number(const json_t *line) {
    const char *v = json_string_value(json_object_get(line, "video"));
    const char *name = v ? strrchr(v, '/') : NULL;
    return name ? atoi(name + 1) : -1;
}

/* FNV-1a of the line's id and a purpose. */
static uint64_t hash_of(const json_t *line, const char *purpose) {
    uint64_t h = 14695981039346656037u;
    const char *id = json_string_value(json_object_get(line, "id"));
    for (const char *p = id ? id : ""; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    for (const char *p = purpose; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h ^ h >> 29;
}
static bool chance(const json_t *line, const char *purpose, double p) {
    return (double)(hash_of(line, purpose) % 10007) < p * 10007;
}

/* The lines of a JSONL file in the world's folder as one array. */
static lpo_status read_lines(json_t **out, const demo_seed *s, const char *name, lpo_error *err) {
    char path[DEMO_PATH + 64];
    snprintf(path, sizeof path, "%s/%s", s->world, name);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    *out = json_array();
    bool bad = !f || !*out;
    while (!bad && getline(&line, &cap, f) > 0)
        bad = json_array_append_new(*out, json_loads(line, 0, NULL)) != 0;
    bad = bad || ferror(f);
    free(line);
    if (f) fclose(f);
    if (!bad) return LPO_OK;
    json_decref(*out);
    *out = NULL;
    return lpo_fail(err, LPO_EIO, "%s: cannot read it", path);
}

static lpo_status write_lines(const json_t *lines, const demo_seed *s, const char *name, lpo_error *err) {
    char path[DEMO_PATH + 64], tmp[DEMO_PATH + 70];
    size_t i;
    json_t *o;
    snprintf(path, sizeof path, "%s/%s", s->world, name);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (!json_array_size(lines)) return lpo_fail(err, LPO_EFORMAT, "%s: no line for it", path);
    FILE *f = fopen(tmp, "w");
    bool bad = !f;
    json_array_foreach(lines, i, o) {
        if (bad) break;
        bad = json_dumpf(o, f, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 || fputc('\n', f) == EOF;
    }
    if (f) bad |= fclose(f) != 0;
    if (!bad) bad = rename(tmp, path) != 0;
    return bad ? lpo_fail(err, LPO_EIO, "%s: cannot write it", path) : LPO_OK;
}

/* How many of the lines around line i, on the same video, stand before it in the order of their hashes. */
static int rank_of(const json_t *lines, size_t i) {
    const json_t *o = json_array_get(lines, i);
    const int v = video_number(o);
    const uint64_t mine = hash_of(o, "draw");
    int rank = 0;
    for (size_t k = i; k-- > 0 && video_number(json_array_get(lines, k)) == v;)
        rank += hash_of(json_array_get(lines, k), "draw") <= mine;
    for (size_t k = i + 1; k < json_array_size(lines) && video_number(json_array_get(lines, k)) == v; k++)
        rank += hash_of(json_array_get(lines, k), "draw") < mine;
    return rank;
}

lpo_status demo_take_lines(const demo_seed *s, const char *from, const char *to, demo_selection pick,
                           lpo_error *err) {
    json_t *in, *out = json_array(), *o;
    size_t i;
    lpo_status st = read_lines(&in, s, from, err);
    json_array_foreach(in, i, o) {
        const int v = video_number(o);
        const json_int_t objects = json_integer_value(json_object_get(o, "n_objects"));
        bool keep = v >= pick.first && v < pick.last && (!pick.n_objects || objects == pick.n_objects);
        if (keep && pick.share_one > 0 && objects == 1)
            keep = (v * 7919 % 1000) < (int)(1000 * pick.share_one / (1 - pick.share_one));
        if (keep && pick.per_video) keep = rank_of(in, i) < pick.per_video;
        if (keep) json_array_append(out, o);
    }
    if (!st) st = write_lines(out, s, to, err);
    json_decref(out);
    json_decref(in);
    return st;
}

static const char *text(const json_t *o, const char *key) {
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

/* A line that asks the same type of question about another video and has another answer; o itself if none is
 * near. */
static const json_t *another(const json_t *lines, size_t i, const char *purpose) {
    const json_t *o = json_array_get(lines, i);
    const size_t n = json_array_size(lines), start = (size_t)hash_of(o, purpose) % n;
    for (size_t k = 0; k < n && k < 4096; k++) {
        const json_t *c = json_array_get(lines, (start + k) % n);
        if (!strcmp(text(c, "type"), text(o, "type")) && strcmp(text(c, "answer"), text(o, "answer")) &&
            strcmp(text(c, "video"), text(o, "video")))
            return c;
    }
    return o;
}

lpo_status demo_mix_prompts(const demo_seed *s, const char *from, const char *to, lpo_error *err) {
    json_t *in, *out = json_array(), *o;
    size_t i;
    lpo_status st = read_lines(&in, s, from, err);
    json_array_foreach(in, i, o) {
        if (st) break;
        const bool special = chance(o, "special", .4), draft = special && chance(o, "draft", .5);
        json_t *line = json_deep_copy(o);
        if (special) {
            const char *q = text(o, "question"), *a = text(o, "answer");
            const char *d = chance(o, "right", .4) ? a : text(another(in, i, "wrong draft"), "answer");
            /* Often on another video, so that the hint is worth listening to. */
            if (chance(o, "mismatch", .6))
                json_object_set(line, "video", json_object_get(another(in, i, "other video"), "video"));
            char *prompt;
            st = lpo_pairs_prompt(&prompt, "world", q, a, draft ? d : NULL, err);
            if (!st) json_object_set_new(line, "question", json_string(prompt));
            free(prompt);
        }
        json_array_append_new(out, line);
    }
    if (!st) st = write_lines(out, s, to, err);
    json_decref(out);
    json_decref(in);
    return st;
}

/* Pairs nobody sampled: the truth against the truth of another video. */
lpo_status demo_template_pairs(const demo_seed *s, const char *qa, const char *to, lpo_error *err) {
    json_t *in, *out = json_array(), *o;
    size_t i;
    lpo_status st = read_lines(&in, s, qa, err);
    json_array_foreach(in, i, o) {
        const json_t *c = another(in, i, "template");
        if (c == o) continue;
        json_t *line = json_deep_copy(o);
        json_object_set(line, "prompt", json_object_get(o, "question"));
        json_object_set(line, "chosen", json_object_get(o, "answer"));
        json_object_set(line, "rejected", json_object_get(c, "answer"));
        json_object_del(line, "question");
        json_object_del(line, "answer");
        json_array_append_new(out, line);
    }
    if (!st) st = write_lines(out, s, to, err);
    json_decref(out);
    json_decref(in);
    return st;
}

lpo_status demo_flip_pairs(const demo_seed *s, const char *from, const char *to, lpo_error *err) {
    json_t *in, *o;
    size_t i;
    lpo_status st = read_lines(&in, s, from, err);
    json_array_foreach(in, i, o) {
        if (!chance(o, "flip", .25)) continue;
        json_t *c = json_incref(json_object_get(o, "chosen"));
        json_object_set(o, "chosen", json_object_get(o, "rejected"));
        json_object_set_new(o, "rejected", c);
    }
    if (!st) st = write_lines(in, s, to, err);
    json_decref(in);
    return st;
}

double demo_chance(const demo_seed *s, const lpo_eval_result *r) {
    char path[DEMO_PATH + 64];
    snprintf(path, sizeof path, "%s/world.json", s->world);
    json_t *w = json_load_file(path, 0, NULL);
    const json_t *by_type = json_object_get(w, "types");
    double sum = 0;
    int64_t n = 0;
    for (int i = 0; i < r->n_types; i++) {
        sum += (double)r->type[i].n *
               json_number_value(json_object_get(json_object_get(by_type, r->type[i].name), "chance"));
        n += r->type[i].n;
    }
    json_decref(w);
    return n ? sum / (double)n : 0;
}

lpo_status demo_read_curve(demo_curve *c, const char *run, lpo_error *err) {
    char path[DEMO_PATH + 64];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    *c = (demo_curve){0};
    FILE *f = fopen(path, "r");
    if (!f) return lpo_fail(err, LPO_EIO, "%s: cannot read it", path);
    char *line = NULL;
    size_t cap = 0;
    while (c->n < DEMO_CURVE && getline(&line, &cap, f) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        if (json_object_get(o, "displacement/chosen")) {
            c->step[c->n] = json_number_value(json_object_get(o, "step"));
            c->chosen[c->n] = json_number_value(json_object_get(o, "displacement/chosen"));
            c->rejected[c->n] = json_number_value(json_object_get(o, "displacement/rejected"));
            const json_t *a = json_object_get(o, "eval_rewards/accuracies");
            c->accuracy[c->n++] = a ? json_number_value(a) : (double)NAN;
        }
        json_decref(o);
    }
    free(line);
    fclose(f);
    return c->n ? LPO_OK : lpo_fail(err, LPO_EFORMAT, "%s: no displacement in it", path);
}
