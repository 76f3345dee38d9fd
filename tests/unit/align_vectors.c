/* SPDX-License-Identifier: Apache-2.0 */
/* align_vectors.c -- every reference vector, loss and gradients.
 * The vectors were made by automatic differentiation in float64 and printed to 12 digits, so agreement to
 * 1e-9 of the largest gradient is agreement of the formulas, not of a rounding. They reach the code as the
 * command line does, as JSON. Two kinds are not objectives of ours and must be refused: see WITHHELD. */
#include "base/json.h"
#include "leanpo/objective.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const WITHHELD[] = {"expo_regression_UNVERIFIED", "upo_literal"};

static json_t *load(void) {
    json_t *root;
    lpo_error err;
    cr_assert_eq(lpo_json_load(&root, TESTS_DIR "/golden/objectives/vectors.json", 1 << 24, &err), LPO_OK,
                 "%s", err.msg);
    return root;
}

static int withheld(const char *name) {
    for (size_t i = 0; i < sizeof WITHHELD / sizeof *WITHHELD; i++)
        if (!strcmp(name, WITHHELD[i])) return 1;
    return !strncmp(name, "value:", 6);
}

/* Largest |number| and largest |difference| of two equally shaped trees; shapes that differ fail. */
static void compare(const json_t *got, const json_t *want, const char *what, double *scale, double *gap) {
    if (json_is_array(want)) {
        cr_assert_eq(json_array_size(got), json_array_size(want), "%s: shape", what);
        for (size_t i = 0; i < json_array_size(want); i++)
            compare(json_array_get(got, i), json_array_get(want, i), what, scale, gap);
        return;
    }
    cr_assert(json_is_number(got), "%s: shape", what);
    *scale = fmax(*scale, fabs(json_number_value(want)));
    *gap = fmax(*gap, fabs(json_number_value(got) - json_number_value(want)));
}

static void check_entry(const json_t *entry, const char *name) {
    char *text = json_dumps(entry, 0), *out = NULL;
    lpo_error err;
    cr_assert_eq(lpo_objective_json(&out, name, text, strlen(text), NULL, 0, &err), LPO_OK, "%s: %s", name,
                 err.msg);
    json_t *got = json_loads(out, 0, NULL);
    double want = json_number_value(json_object_get(entry, "loss")),
           loss = json_number_value(json_object_get(got, "loss"));
    cr_expect_leq(fabs(loss - want), 1e-9 * fabs(want), "%s: loss %.15g, expected %.15g", name, loss, want);
    json_t *grads = json_object_get(got, "grads"), *expected = json_object_get(entry, "grads"), *g;
    cr_expect_eq(json_object_size(grads), json_object_size(expected),
                 "%s: gradients of %zu columns, expected %zu", name, json_object_size(grads),
                 json_object_size(expected));
    const char *column;
    json_object_foreach(expected, column, g) {
        double scale = 0, gap = 0;
        cr_assert(json_object_get(grads, column), "%s: no gradient of %s", name, column);
        compare(json_object_get(grads, column), g, name, &scale, &gap);
        cr_expect_leq(gap, 1e-9 * scale, "%s: d/d%s off by %g of %g", name, column, gap, scale);
    }
    json_decref(got);
    free(out);
    free(text);
}

Test(align_vectors, every_loss_and_gradient) {
    json_t *root = load(), *entry;
    size_t i;
    int checked = 0;
    json_array_foreach(json_object_get(root, "vectors"), i, entry) {
        const char *name = json_string_value(json_object_get(entry, "objective"));
        if (withheld(name)) continue;
        check_entry(entry, name);
        checked++;
    }
    cr_assert_eq(checked, 59);
    json_decref(root);
}

/* What is not an objective of ours says so instead of computing something. */
Test(align_vectors, withheld_names_are_unknown) {
    lpo_objective *o;
    lpo_error err;
    for (size_t i = 0; i < sizeof WITHHELD / sizeof *WITHHELD; i++)
        cr_expect_eq(lpo_objective_create(&o, WITHHELD[i], &err), LPO_ENOTFOUND);
    cr_expect_eq(lpo_objective_create(&o, "value:bald", &err), LPO_ENOTFOUND);
}

/* A whole file with a name is as good as the one entry. */
Test(align_vectors, file_of_entries) {
    json_t *root = load();
    char *text = json_dumps(root, 0), *out = NULL;
    lpo_error err;
    cr_assert_eq(lpo_objective_json(&out, "cdpo", text, strlen(text), NULL, 0, &err), LPO_OK, "%s", err.msg);
    json_t *got = json_loads(out, 0, NULL);
    cr_expect_float_eq(json_number_value(json_object_get(got, "loss")), 0.65243998047, 1e-11);
    json_decref(got);
    free(out);
    free(text);
    json_decref(root);
}

/* Whitening asked for is whitening done beforehand: the file holds the same rollouts with both advantages. */
Test(align_vectors, whitening_is_the_whitened_vector) {
    json_t *root = load(), *entry;
    size_t i;
    const char *const sets[] = {"whiten=1"};
    json_array_foreach(json_object_get(root, "vectors"), i, entry) {
        if (strcmp(json_string_value(json_object_get(entry, "objective")), "dvpo_policy")) continue;
        char *text = json_dumps(entry, 0), *out = NULL;
        lpo_error err;
        cr_assert_eq(lpo_objective_json(&out, "dvpo", text, strlen(text), sets, 1, &err), LPO_OK, "%s",
                     err.msg);
        json_t *got = json_loads(out, 0, NULL);
        cr_expect_float_eq(json_number_value(json_object_get(got, "loss")), -0.0026385008683, 1e-13);
        json_decref(got);
        free(out);
        free(text);
    }
    json_decref(root);
}
