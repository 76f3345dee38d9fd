/* SPDX-License-Identifier: Apache-2.0 */
/* json.c -- one objective entry as JSON in, its loss and gradients as JSON out: the face the command line
 * shows. An entry is {"inputs": {column: [number...] or [[number...]...]}, "hyper_parameters": {key: value}};
 * "extra" may hold columns too (the candidate comparisons w, l). A whole file of entries, {"vectors": [...]},
 * stands for the one of it whose "objective" is the wanted name. */
#include "base/json.h"
#include "base/arena.h"
#include "leanpo/objective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHERE[] = "objective entry";
enum { SIZE_MAX_BYTES = 256 << 20 };

static int column_id(const char *name) {
    for (int c = 0; c < LPO_N_COLUMNS; c++)
        if (!strcmp(lpo_column_name(c), name)) return c;
    return -1;
}

static lpo_status read_number(double *out, const json_t *v, const char *name, size_t row, lpo_error *err) {
    if (!json_is_number(v))
        return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%s: row %zu is not a number", WHERE, name, row);
    *out = json_number_value(v);
    return LPO_OK;
}

/* [[...], ...] */
static lpo_status read_ragged(lpo_column *c, const json_t *v, const char *name, lpo_arena *arena,
                              lpo_error *err) {
    size_t rows = json_array_size(v), total = 0, at = 0;
    for (size_t i = 0; i < rows; i++) {
        if (!json_is_array(json_array_get(v, i)))
            return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%s: row %zu is not a list", WHERE, name, i);
        total += json_array_size(json_array_get(v, i));
    }
    double *data = lpo_arena_alloc(arena, total + 1, sizeof *data);
    int64_t *start = lpo_arena_alloc(arena, rows + 1, sizeof *start);
    if (!data || !start) return lpo_fail(err, LPO_ENOMEM, "%s: inputs.%s", WHERE, name);
    for (size_t i = 0; i < rows; i++) {
        const json_t *row = json_array_get(v, i);
        for (size_t k = 0; k < json_array_size(row); k++) {
            lpo_status s = read_number(&data[at++], json_array_get(row, k), name, i, err);
            if (s) return s;
        }
        start[i + 1] = (int64_t)at;
    }
    *c = (lpo_column){data, (int64_t)total, start};
    return LPO_OK;
}

static lpo_status read_column(lpo_column *c, int64_t *rows, const json_t *v, const char *name,
                              lpo_arena *arena, lpo_error *err) {
    if (!json_is_array(v)) return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%s is not a list", WHERE, name);
    size_t n = json_array_size(v);
    *rows = (int64_t)n;
    if (json_is_array(json_array_get(v, 0))) return read_ragged(c, v, name, arena, err);
    double *data = lpo_arena_alloc(arena, n + 1, sizeof *data);
    if (!data) return lpo_fail(err, LPO_ENOMEM, "%s: inputs.%s", WHERE, name);
    for (size_t i = 0; i < n; i++) {
        lpo_status s = read_number(&data[i], json_array_get(v, i), name, i, err);
        if (s) return s;
    }
    *c = (lpo_column){data, (int64_t)n, NULL};
    return LPO_OK;
}

static lpo_status read_inputs(lpo_batch_columns *in, const json_t *entry, lpo_arena *arena, lpo_error *err) {
    json_t *inputs = json_object_get(entry, "inputs"), *extra = json_object_get(entry, "extra"), *v;
    const char *name, *first = NULL;
    if (!json_is_object(inputs))
        return lpo_fail(err, LPO_EFORMAT, "%s: \"inputs\" is missing or not an object", WHERE);
    in->n_rows = 1; /* candidates alone */
    json_object_foreach(inputs, name, v) {
        int64_t rows;
        int c = column_id(name);
        if (c < 0)
            return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%.60s is not a column any objective reads", WHERE,
                            name);
        lpo_status s = read_column(&in->col[c], &rows, v, name, arena, err);
        if (s) return s;
        if (c == LPO_COL_theta || c == LPO_COL_ref_logps || c == LPO_COL_w || c == LPO_COL_l) continue;
        if (rows < 1) return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%s is empty", WHERE, name);
        if (first && rows != in->n_rows)
            return lpo_fail(err, LPO_EFORMAT, "%s: inputs.%s has %lld rows, %s has %lld", WHERE, name,
                            (long long)rows, first, (long long)in->n_rows);
        first = name;
        in->n_rows = rows;
    }
    for (int c = LPO_COL_w; c <= LPO_COL_l; c++) {
        int64_t rows;
        v = in->col[c].data ? NULL : json_object_get(extra, lpo_column_name(c));
        lpo_status s = v ? read_column(&in->col[c], &rows, v, lpo_column_name(c), arena, err) : LPO_OK;
        if (s) return s;
    }
    return LPO_OK;
}

static lpo_status set_from_json(lpo_objective *o, const char *key, const json_t *v, lpo_error *err) {
    char text[40];
    if (json_is_string(v)) return lpo_objective_set(o, key, json_string_value(v), err);
    if (json_is_boolean(v)) return lpo_objective_set(o, key, json_is_true(v) ? "1" : "0", err);
    if (json_is_null(v)) return lpo_objective_set(o, key, "none", err);
    if (!json_is_number(v))
        return lpo_fail(err, LPO_EFORMAT, "%s: hyper_parameters.%.60s is not a scalar", WHERE, key);
    snprintf(text, sizeof text, "%.17g", json_number_value(v));
    return lpo_objective_set(o, key, text, err);
}

static lpo_status configure(lpo_objective *o, const json_t *entry, const char *const *sets, int n_sets,
                            lpo_error *err) {
    json_t *hyper = json_object_get(entry, "hyper_parameters"), *v;
    const char *key;
    if (hyper && !json_is_null(hyper) && !json_is_object(hyper))
        return lpo_fail(err, LPO_EFORMAT, "%s: \"hyper_parameters\" is not an object", WHERE);
    json_object_foreach(hyper, key, v) {
        lpo_status s = set_from_json(o, key, v, err);
        if (s) return s;
    }
    for (int i = 0; i < n_sets; i++) {
        const char *eq = strchr(sets[i], '=');
        char name[80];
        if (!eq || eq == sets[i] || eq - sets[i] >= (long)sizeof name)
            return lpo_fail(err, LPO_EINVAL, "\"%.80s\": expected key=value", sets[i]);
        memcpy(name, sets[i], (size_t)(eq - sets[i]));
        name[eq - sets[i]] = 0;
        lpo_status s = lpo_objective_set(o, name, eq + 1, err);
        if (s) return s;
    }
    return LPO_OK;
}

/* An array shaped as the column; NULL when out of memory. */
static json_t *shaped(const lpo_column *c, int64_t n_rows, const double *g) {
    json_t *out = json_array();
    for (int64_t i = 0; out && !c->row_start && i < c->n; i++)
        if (json_array_append_new(out, json_real(g[i]))) goto fail;
    for (int64_t i = 0; out && c->row_start && i < n_rows; i++) {
        json_t *row = json_array();
        if (json_array_append_new(out, row)) goto fail;
        for (int64_t k = c->row_start[i]; k < c->row_start[i + 1]; k++)
            if (json_array_append_new(row, json_real(g[k]))) goto fail;
    }
    return out;
fail:
    json_decref(out);
    return NULL;
}

static lpo_status write_result(char **out, double loss, double *const *grads, const lpo_batch_columns *in,
                               lpo_error *err) {
    json_t *root = json_object(), *g = json_object();
    int bad = !root || !g || json_object_set_new(root, "loss", json_real(loss));
    for (int c = 0; !bad && c < LPO_N_COLUMNS; c++)
        if (grads[c])
            bad = json_object_set_new(g, lpo_column_name(c), shaped(&in->col[c], in->n_rows, grads[c]));
    bad = bad || json_object_set(root, "grads", g);
    *out = bad ? NULL : json_dumps(root, JSON_REAL_PRECISION(17));
    json_decref(g);
    json_decref(root);
    return *out ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "%s: writing the result", WHERE);
}

/* The entry to evaluate: root itself, or the one of root.vectors that has the wanted name. */
static lpo_status pick_entry(const json_t **entry, const json_t *root, const char *name, lpo_error *err) {
    const json_t *all = json_object_get(root, "vectors"), *v;
    size_t i;
    *entry = root;
    if (!json_is_object(root)) return lpo_fail(err, LPO_EFORMAT, "%s: expected a JSON object", WHERE);
    if (!json_is_array(all)) return LPO_OK;
    if (!name) return lpo_fail(err, LPO_EINVAL, "%s: a file of many entries: name the objective", WHERE);
    json_array_foreach(all, i, v) {
        const char *its = json_string_value(json_object_get(v, "objective"));
        *entry = v;
        if (its && !strcmp(its, name)) return LPO_OK;
    }
    return lpo_fail(err, LPO_ENOTFOUND, "%s: no entry of the file is named \"%.60s\"", WHERE, name);
}

lpo_status lpo_objective_json(char **out, const char *name, const char *entry_json, size_t n,
                              const char *const *sets, int n_sets, lpo_error *err) {
    json_t *root = NULL;
    const json_t *entry;
    lpo_objective *o = NULL;
    lpo_arena *arena = NULL;
    lpo_batch_columns in = {0};
    double loss, *grads[LPO_N_COLUMNS] = {0};
    lpo_status s = LPO_OK;
    *out = NULL;
    if (n > SIZE_MAX_BYTES) return lpo_fail(err, LPO_ELIMIT, "%s: %zu bytes", WHERE, n);
    if ((s = lpo_json_parse(&root, entry_json, n, WHERE, err))) return s;
    if ((s = pick_entry(&entry, root, name, err))) goto done;
    if (!name) name = json_string_value(json_object_get(entry, "objective"));
    if (!name) {
        s = lpo_fail(err, LPO_EINVAL, "%s: name the objective", WHERE);
        goto done;
    }
    if (!(arena = lpo_arena_create(1 << 16))) {
        s = lpo_fail(err, LPO_ENOMEM, "%s", WHERE);
        goto done;
    }
    if ((s = lpo_objective_create(&o, name, err))) goto done;
    if ((s = configure(o, entry, sets, n_sets, err))) goto done;
    if ((s = read_inputs(&in, entry, arena, err))) goto done;
        /* A gradient for every differentiable column that was given, zeros where the loss does not read it.
         */
#define LPO_X(column, ragged, differentiable, meaning)                                                       \
    if (differentiable && in.col[LPO_COL_##column].data)                                                     \
        grads[LPO_COL_##column] =                                                                            \
            lpo_arena_alloc(arena, (size_t)in.col[LPO_COL_##column].n + 1, sizeof(double));
    LPO_COLUMN_LIST(LPO_X)
#undef LPO_X
    if ((s = lpo_objective_eval(&loss, grads, o, &in, 0, 0, err))) goto done;
    s = write_result(out, loss, grads, &in, err);
done:
    lpo_objective_destroy(o);
    lpo_arena_destroy(arena);
    json_decref(root);
    return s;
}
