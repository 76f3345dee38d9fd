/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_train.c -- train and objective. The flags of train are the library's option table: nothing is listed
 * twice. */
#include "cli.h"
#include "leanpo/objective.h"
#include "leanpo/train.h"
#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool names_option(const lpo_option_info *i, const char *name) {
    const char *candidates[] = {i->name, i->alias};
    for (int c = 0; c < 2; c++) {
        const char *a = candidates[c], *b = name;
        if (!a) continue;
        while (*a && *b && (*a == *b || (strchr("-_", *a) && strchr("-_", *b)))) a++, b++;
        if (!*a && !*b) return true;
    }
    return false;
}

int cli_train_option(void *user, const char *name, const char *value) {
    for (int i = 0; lpo_train_option_at(i); i++) {
        if (!names_option(lpo_train_option_at(i), name)) continue;
        lpo_error err;
        if (!value) return cli_usage("train", "--%s needs a value", name), -1;
        if (lpo_train_options_set(user, name, value, &err)) return cli_usage("train", "%s", err.msg), -1;
        return 1;
    }
    return 0;
}

/* --lora r=64,alpha=16,dropout=0,rslora=1 or --lora 64: the lora_* options in one. */
static int set_lora(lpo_train_options *o, const char *spec) {
    static const char *const key[][2] = {
        {"r", "lora_r"}, {"alpha", "lora_alpha"}, {"dropout", "lora_dropout"}, {"rslora", "use_rslora"}};
    char text[256], *at = text;
    lpo_error err;
    if (snprintf(text, sizeof text, "%s", spec) >= (int)sizeof text)
        return cli_usage("train", "--lora %.40s...: too long", spec);
    for (char *word; (word = strsep(&at, ","));) {
        char *value = strchr(word, '=');
        const char *name = value ? NULL : "lora_r";
        if (value) *value++ = 0;
        for (int i = 0; i < 4 && value; i++)
            if (!strcmp(word, key[i][0])) name = key[i][1];
        if (!name) return cli_usage("train", "--lora: no \"%s\" (r=N,alpha=X,dropout=X,rslora=0|1)", word);
        if (lpo_train_options_set(o, name, value ? value : word, &err))
            return cli_usage("train", "%s", err.msg);
    }
    return CLI_OK;
}

static void list_train_options(void) {
    static const char *const arg[] = {"N", "X", "S", "0|1"};
    for (int i = 0; lpo_train_option_at(i); i++) {
        const lpo_option_info *o = lpo_train_option_at(i);
        char head[96];
        int n = snprintf(head, sizeof head, "--%s %s", o->name, arg[o->type]);
        for (char *c = head; *c; c++)
            if (*c == '_') *c = '-';
        printf("  %-36s%s%s", head, n > 35 ? "\n                                      " : "", o->help);
        if (o->fallback && o->fallback[0]) printf(" (default %s)", o->fallback);
        if (o->alias) printf(" [--%s]", o->alias);
        putchar('\n');
    }
}

static int print_result(const lpo_train_result *r, int json) {
    if (json)
        return cli_print_json(json_pack(
            "{sI sf sf sf sf sf sf sf sf sf sI ss}", "steps", (json_int_t)r->steps, "loss", r->loss,
            "eval_loss", r->eval_loss, "rewards/accuracies", r->reward_accuracy, "rewards/margins",
            r->reward_margin, "displacement/chosen", r->displacement_chosen, "displacement/rejected",
            r->displacement_rejected, "seconds", r->seconds, "pairs_per_s", r->pairs_per_s, "wait_share",
            r->wait_share, "fallbacks", (json_int_t)r->fallbacks, "checkpoint", r->last_checkpoint));
    printf("%lld steps in %.1f s (%.1f samples/s, %.1f%% of the time waiting for data): loss %.4f\n",
           (long long)r->steps, r->seconds, r->pairs_per_s, 100 * r->wait_share, r->loss);
    if (r->fallbacks)
        printf("a device was given up for the cpu %lld time%s on the way\n", (long long)r->fallbacks,
               r->fallbacks == 1 ? "" : "s");
    printf("rewards: accuracy %.3f, margin %.4f; log-probability per token since step 0: chosen %+.4f, "
           "rejected %+.4f\n%s\n",
           r->reward_accuracy, r->reward_margin, r->displacement_chosen, r->displacement_rejected,
           r->last_checkpoint);
    return CLI_OK;
}

int cmd_train(int argc, char **argv) {
    const char *config = NULL, *lora = NULL;
    int json = 0, resume = 0, separate = 0, n_rest, rc;
    cli_rounds rounds = cli_rounds_default();
    const cli_option opts[] = {
        {"config", CLI_STR, &config, "F.json", "options from a file; flags after it win"},
        CLI_ROUNDS_OPTIONS(rounds),
        {"resume", CLI_FLAG, &resume, NULL, "go on from the last checkpoint of --out"},
        {"lora", CLI_STR, &lora, "r=64,...",
         "train adapters: r, alpha, dropout, rslora (the --lora-* options)"},
        {"no-shared-prefix", CLI_FLAG, &separate, NULL, "--shared-prefix 0"},
        {"json", CLI_FLAG, &json, NULL, "the result as JSON"},
        {0},
    };
    lpo_error err;
    lpo_train_options *o = lpo_train_options_create();
    if (!o) return cli_usage("train", "out of memory");
    /* The file first, whatever its place on the line: flags win over it. */
    for (int i = 1; i < argc; i++) {
        const char *path = !strcmp(argv[i], "--config") && i + 1 < argc ? argv[i + 1]
                           : !strncmp(argv[i], "--config=", 9)          ? argv[i] + 9
                                                                        : NULL;
        if (path && lpo_train_options_load(o, path, &err)) {
            lpo_train_options_destroy(o);
            return cli_fail("train", &err);
        }
    }
    rc = cli_parse("train", opts, argc, argv, &n_rest, cli_train_option, o);
    if (rc == -1) list_train_options();
    if (!rc && n_rest) rc = cli_usage("train", "unexpected argument \"%s\"", argv[1]);
    if (!rc && resume && lpo_train_options_set(o, "resume", "1", &err)) rc = cli_fail("train", &err);
    if (!rc && lora) rc = set_lora(o, lora);
    if (!rc && separate && lpo_train_options_set(o, "shared_prefix", "0", &err)) rc = cli_fail("train", &err);
    if (!rc) {
        const lpo_clip_options clips = lpo_train_options_clips(o);
        rc = cli_check_clips("train", lpo_train_options_get(o, "model"), &clips);
    }
    if (!rc && rounds.n) {
        rc = cli_rounds_run(&rounds, o, resume, json);
    } else if (!rc) {
        lpo_train_result r;
        rc = lpo_train(&r, o, cli_interrupted, cli_progress, NULL, &err) ? cli_fail("train", &err)
                                                                         : print_result(&r, json);
    }
    lpo_train_options_destroy(o);
    return rc;
}

static void list_objectives(void) {
    const lpo_objective_info *i;
    for (int k = 0; (i = lpo_objective_at(k)); k++)
        printf("%-12s %s\n%13s%s; defaults %s\n", i->name, i->summary, "", i->source, i->defaults);
}

int cmd_objective(int argc, char **argv) {
    enum { MAX_SETS = 64 };
    const char *input = NULL, *sets[MAX_SETS];
    int n_sets = 0, list = 0, n_rest, rc;
    const char *set = NULL;
    const cli_option opts[] = {
        {"input", CLI_STR, &input, "F.json", "one entry: {\"inputs\": {...}, \"hyper_parameters\": {...}}"},
        {"set", CLI_STR, &set, "k=v", "a hyper-parameter, after the entry's own (repeatable)"},
        {"list", CLI_FLAG, &list, NULL, "every objective with its source and defaults"},
        {0},
    };
    for (int i = 1; i < argc; i++) { /* --set repeats: collect before the table keeps only the last */
        const char *kv = !strcmp(argv[i], "--set") && i + 1 < argc ? argv[i + 1]
                         : !strncmp(argv[i], "--set=", 6)          ? argv[i] + 6
                                                                   : NULL;
        if (kv && n_sets == MAX_SETS) return cli_usage("objective", "more than %d --set", MAX_SETS);
        if (kv) sets[n_sets++] = kv;
    }
    if ((rc = cli_parse("objective", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (list) return list_objectives(), CLI_OK;
    if (n_rest != 1 || !input)
        return cli_usage("objective", "give one NAME and --input F.json (--list shows the names)");
    lpo_error err;
    FILE *f = fopen(input, "rb");
    json_error_t je;
    json_t *entry = f ? json_loadf(f, JSON_REJECT_DUPLICATES, &je) : NULL;
    if (f) fclose(f);
    if (!entry) {
        lpo_fail(&err, LPO_EFORMAT, "%s: %s (line %d)", input, f ? je.text : "cannot open it",
                 f ? je.line : 0);
        return cli_fail("objective", &err);
    }
    char *text = json_dumps(entry, JSON_REAL_PRECISION(17)), *out = NULL;
    json_decref(entry);
    lpo_status s = text ? lpo_objective_json(&out, argv[1], text, strlen(text), sets, n_sets, &err)
                        : lpo_fail(&err, LPO_ENOMEM, "out of memory");
    free(text);
    if (s) return cli_fail("objective", &err);
    puts(out);
    free(out);
    return CLI_OK;
}
