/* SPDX-License-Identifier: Apache-2.0 */
/* The options table: every row is sound, bad values are named, a run's config.json brings the same run back.
 */
#include "train/options.h"

#include <criterion/criterion.h>
#include <string.h>

/* Every default is a value its own option accepts, names and aliases are unique, and every row has a help
 * line. */
Test(train_options, table_is_sound) {
    lpo_train_options *o = lpo_train_options_create();
    lpo_error err;
    for (int i = 0; lpo_train_option_at(i); i++) {
        const lpo_option_info *a = lpo_train_option_at(i);
        cr_assert_eq(lpo_train_options_set(o, a->name, a->fallback, &err), LPO_OK, "%s", err.msg);
        cr_assert_str_eq(lpo_train_options_get(o, a->name), a->fallback);
        cr_assert(strlen(a->help) > 5, "%s", a->name);
        for (int k = 0; k < i; k++) {
            const lpo_option_info *b = lpo_train_option_at(k);
            cr_assert_str_neq(a->name, b->name);
            cr_assert_str_neq(a->alias ? a->alias : "", b->name);
            if (a->alias && b->alias) cr_assert_str_neq(a->alias, b->alias);
        }
    }
    cr_assert_null(lpo_train_option_at(-1));
    lpo_train_options_destroy(o);
}

/* '-' equals '_' and an alias reaches the same option. */
Test(train_options, names) {
    lpo_train_options *o = lpo_train_options_create();
    cr_assert_eq(lpo_train_options_set(o, "learning-rate", "1e-3", NULL), LPO_OK);
    cr_assert_str_eq(lpo_train_options_get(o, "learning_rate"), "1e-3");
    cr_assert_eq(lpo_train_options_set(o, "lr", "2e-3", NULL), LPO_OK);
    cr_assert_eq(lpo_train_real(o, LPO_TRAIN_learning_rate), 2e-3);
    cr_assert_null(lpo_train_options_get(o, "nonsense"));
    lpo_train_options_destroy(o);
}

/* An error names the option, the value and what is allowed, and changes nothing. */
Test(train_options, errors) {
    static const struct {
        const char *name, *value, *says;
    } bad[] = {
        {"learning_rate", "fast", "not a number"},
        {"learning_rate", "1e-3x", "not a number"},
        {"learning_rate", "nan", "outside"},
        {"seed", "1.5", "whole number"},
        {"lr_scheduler_type", "cos", "cosine|linear"},
        {"resume", "maybe", "true or false"},
        {"warmup_ratio", "1.5", "0..1"},
        {"learning_rat", "1", "nearest is learning_rate"},
    };
    lpo_train_options *o = lpo_train_options_create();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lpo_error err = {0};
        cr_assert_eq(lpo_train_options_set(o, bad[i].name, bad[i].value, &err), LPO_EINVAL, "%s",
                     bad[i].name);
        cr_assert(strstr(err.msg, bad[i].says) && strstr(err.msg, bad[i].name), "%s", err.msg);
    }
    cr_assert_str_eq(lpo_train_options_get(o, "learning_rate"), "5e-7");
    lpo_train_options_destroy(o);
}

/* --set may be repeated; the pairs are kept in order, so the later ones win. */
Test(train_options, set_appends) {
    lpo_train_options *o = lpo_train_options_create();
    lpo_train_options_set(o, "set", "beta=1", NULL);
    lpo_train_options_set(o, "set", "tau=3", NULL);
    cr_assert_str_eq(lpo_train_options_get(o, "set"), "beta=1,tau=3");
    lpo_train_options_destroy(o);
}

/* On resume what the user leaves out comes from the saved run; what he gives and what changes numbers is
 * refused by name; what cannot change a number passes. */
Test(train_options, resume) {
    lpo_train_options *a = lpo_train_options_create(), *b = lpo_train_options_create();
    lpo_error err;
    lpo_train_options_set(a, "lr", "3e-5", NULL);
    lpo_train_options_set(a, "objective", "dpo", NULL);
    lpo_train_options_set(a, "resume", "true", NULL);
    json_t *saved = lpo_train_options_json(a);
    cr_assert_null(json_object_get(saved, "resume"));
    lpo_train_options_set(b, "n_threads", "2", NULL);
    cr_assert_eq(lpo_train_options_inherit(b, saved, "config.json", &err), LPO_OK, "%s", err.msg);
    cr_assert_str_eq(lpo_train_str(b, LPO_TRAIN_objective), "dpo");
    cr_assert_eq(lpo_train_int(b, LPO_TRAIN_n_threads), 2);
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_OK, "%s", err.msg);
    lpo_train_options_set(b, "max_steps", "7", NULL); /* a longer run is a warning */
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_OK);
    lpo_train_options_set(b, "lr", "1e-5", NULL);
    lpo_train_options_set(b, "seed", "1", NULL);
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "learning_rate") && strstr(err.msg, "seed"), "%s", err.msg);
    json_decref(saved);
    lpo_train_options_destroy(a);
    lpo_train_options_destroy(b);
}

/* A run begun before an option existed had what is now its default: it goes on without it, and is refused
 * another value. Another place is a warning. */
Test(train_options, resume_of_an_older_run) {
    lpo_train_options *a = lpo_train_options_create(), *b = lpo_train_options_create();
    lpo_error err;
    lpo_train_options_set(a, "lr", "3e-5", NULL);
    json_t *saved = lpo_train_options_json(a);
    json_object_del(saved, "use_rslora");
    json_object_del(saved, "beta"); /* one without a default value */
    json_object_del(saved, "lora_alpha");
    cr_assert_eq(lpo_train_options_inherit(b, saved, "config.json", &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_OK, "%s", err.msg);
    lpo_train_options_set(b, "place", "cuda", NULL);
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_OK, "%s", err.msg);
    lpo_train_options_set(b, "lora_alpha", "17", NULL);
    cr_assert_eq(lpo_train_options_same_run(b, saved, "config.json", &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "lora_alpha (was \"16"), "%s", err.msg);
    json_decref(saved);
    lpo_train_options_destroy(a);
    lpo_train_options_destroy(b);
}
