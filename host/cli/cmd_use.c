/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_use.c -- the commands that use a model: score, eval, generate. */
#include "cli.h"
#include "leanpo/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_OPTIONS(o)                                                                                     \
    {"model", CLI_STR, &(o).model, "DIR", "Hugging Face model folder"},                                      \
        {"adapter", CLI_STR, &(o).adapter, "DIR", "LoRA adapters for it (PEFT's folder)"},                   \
        {"place", CLI_STR, &(o).place, "SPEC", "stage=device,... or one device (cpu, ref)"},                 \
        {"chat-template", CLI_STR, &(o).chat_template, "NAME",                                               \
         "chatml, vicuna, llava_qwen, llava_onevision"},                                                     \
        CLI_CLIP_OPTIONS((o).clips), {                                                                       \
        "threads", CLI_INT, &(o).n_threads, "N", "CPU threads (default: all)"                                \
    }

static int need(const char *command, const char *value, const char *option) {
    return value ? CLI_OK : cli_usage(command, "--%s is needed (leanpo %s --help)", option, command);
}

static int no_rest(const char *command, int n_rest, char **argv) {
    return n_rest ? cli_usage(command, "unexpected argument \"%s\"", argv[1]) : CLI_OK;
}

int cmd_score(int argc, char **argv) {
    lpo_score_options o = lpo_score_options_default();
    int json = 0, n_rest, rc;
    const cli_option opts[] = {
        MODEL_OPTIONS(o),
        {"data", CLI_STR, &o.data, "F.jsonl", "pairs or questions with answers"},
        {"out", CLI_STR, &o.out, "F.jsonl", "the input lines with logps_*, rewards_*, n_tokens_*"},
        {"dtype", CLI_STR, &o.dtype, "T", "parameter storage: f32 (default), bf16, f64 (ref only)"},
        {"token-logps", CLI_FLAG, &o.token_logps, NULL, "add the list of per-token log-probabilities"},
        {"beta", CLI_REAL, &o.beta, "X", "reward = beta * mean log-likelihood (default 1)"},
        {"batch-size", CLI_INT, &o.batch_size, "N", "records per forward pass (default 8)"},
        {"limit", CLI_I64, &o.limit, "N", "only the first N records"},
        {"json", CLI_FLAG, &json, NULL, "the summary as JSON"},
        {0},
    };
    if ((rc = cli_parse("score", opts, argc, argv, &n_rest, NULL, NULL)) ||
        (rc = no_rest("score", n_rest, argv)))
        return rc;
    if ((rc = need("score", o.model, "model")) || (rc = need("score", o.data, "data")) ||
        (rc = need("score", o.out, "out")) || (rc = cli_check_clips("score", o.model, &o.clips)))
        return rc;
    lpo_score_result r;
    lpo_error err;
    if (lpo_score(&r, &o, cli_progress, NULL, &err)) return cli_fail("score", &err);
    if (json)
        return cli_print_json(json_pack("{sI sI sf sf sf ss}", "n", (json_int_t)r.n, "n_bad",
                                        (json_int_t)r.n_bad, "mean_logp_chosen", r.mean_logp_chosen,
                                        "mean_logp_rejected", r.mean_logp_rejected, "accuracy", r.accuracy,
                                        "out", o.out));
    printf("%lld records (%lld skipped) -> %s\nmean log-likelihood per token: chosen %.4f", (long long)r.n,
           (long long)r.n_bad, o.out, r.mean_logp_chosen);
    if (r.mean_logp_rejected < 0)
        printf(", rejected %.4f; chosen above rejected in %.1f%%", r.mean_logp_rejected, 100 * r.accuracy);
    putchar('\n');
    return CLI_OK;
}

static json_t *eval_json(const lpo_eval_result *r) {
    json_t *types = json_object();
    for (int i = 0; i < r->n_types; i++)
        json_object_set_new(types, r->type[i].name,
                            json_pack("{sI sf sf}", "n", (json_int_t)r->type[i].n, "accuracy",
                                      r->type[i].accuracy, "content_f1", r->type[i].content_f1));
    return json_pack("{sI sI sf sf sf sf sf sf sf so}", "n", (json_int_t)r->n, "n_bad", (json_int_t)r->n_bad,
                     "accuracy", r->accuracy, "exact_match", r->exact_match, "token_f1", r->token_f1,
                     "content_f1", r->content_f1, "mean_logp", r->mean_logp, "seconds", r->seconds,
                     "tokens_per_s", r->tokens_per_s, "types", types);
}

int cmd_eval(int argc, char **argv) {
    lpo_eval_options o = lpo_eval_options_default();
    int json = 0, n_rest, rc;
    const cli_option opts[] = {
        MODEL_OPTIONS(o),
        {"data", CLI_STR, &o.data, "qa.jsonl", "questions with answers"},
        {"out", CLI_STR, &o.out, "F.jsonl", "write the predictions"},
        {"dtype", CLI_STR, &o.dtype, "T", "parameter storage: f32 (default), bf16"},
        {"max-tokens", CLI_INT, &o.max_tokens, "N", "longest answer (default 32)"},
        {"batch-size", CLI_INT, &o.batch_size, "N", "questions answered together (default 128)"},
        {"temperature", CLI_REAL, &o.temperature, "X", "0 = greedy (default)"},
        {"seed", CLI_U64, &o.seed, "N", "of the sampling"},
        {"limit", CLI_I64, &o.limit, "N", "only the first N records"},
        {"json", CLI_FLAG, &json, NULL, "the result as JSON"},
        {0},
    };
    if ((rc = cli_parse("eval", opts, argc, argv, &n_rest, NULL, NULL)) ||
        (rc = no_rest("eval", n_rest, argv)))
        return rc;
    if ((rc = need("eval", o.model, "model")) || (rc = need("eval", o.data, "data")) ||
        (rc = cli_check_clips("eval", o.model, &o.clips)))
        return rc;
    lpo_eval_result r;
    lpo_error err;
    if (lpo_eval(&r, &o, cli_progress, NULL, &err)) return cli_fail("eval", &err);
    if (json) return cli_print_json(eval_json(&r));
    printf("%lld questions (%lld skipped): accuracy %.3f, exact match %.3f, content-word F1 %.3f, token F1 "
           "%.3f, log-likelihood of the truth %.4f per token; %.0f tokens/s\n",
           (long long)r.n, (long long)r.n_bad, r.accuracy, r.exact_match, r.content_f1, r.token_f1,
           r.mean_logp, r.tokens_per_s);
    for (int i = 0; i < r.n_types; i++)
        printf("  %-12s %5lld  accuracy %.3f  content-word F1 %.3f\n", r.type[i].name, (long long)r.type[i].n,
               r.type[i].accuracy, r.type[i].content_f1);
    return CLI_OK;
}

static void print_piece(void *user, const char *text) {
    (void)user;
    fputs(text, stdout);
    fflush(stdout);
}

static int on_progress(void *user, const char *what, long long done, long long total) {
    const lpo_generate_result *r = user;
    char note[64];
    snprintf(note, sizeof note, ", %.3g tokens/s", r->tokens_per_s);
    return cli_progress_note(what, done, total, note);
}

static int generate_one(const lpo_generate_options *o, int json) {
    char *answer;
    lpo_error err;
    int rc = CLI_OK;
    if (lpo_generate_text(&answer, o, json ? NULL : print_piece, NULL, &err))
        return cli_fail("generate", &err);
    if (json)
        rc = cli_print_json(json_pack("{ss}", "answer", answer));
    else
        putchar('\n');
    if (!answer[strspn(answer, " \t\r\n")]) fprintf(stderr, "leanpo generate: the answer is empty\n");
    free(answer);
    return rc;
}

static int generate_many(const lpo_generate_options *o, int json) {
    lpo_generate_result r;
    lpo_error err;
    if (lpo_generate_data(&r, o, on_progress, &r, &err)) return cli_fail("generate", &err);
    if (json)
        return cli_print_json(json_pack(
            "{sI sI sI sI sI sI sI sI sI sI sf sf sf ss}", "n", (json_int_t)r.n_lines, "n_bad",
            (json_int_t)r.n_bad, "n_answers", (json_int_t)r.n_answers, "n_empty", (json_int_t)r.n_empty,
            "n_cut", (json_int_t)r.n_cut, "n_tokens", (json_int_t)r.n_tokens, "videos_decoded",
            (json_int_t)r.n_decoded, "clips_encoded", (json_int_t)r.n_encoded, "prompt_tokens",
            (json_int_t)r.prompt_tokens, "shared_tokens", (json_int_t)r.shared_tokens, "seconds", r.seconds,
            "lines_per_s", r.lines_per_s, "tokens_per_s", r.tokens_per_s, "out", o->out));
    printf("%lld answers to %lld lines -> %s\n%lld empty, %lld cut off at --max-tokens %d\n",
           (long long)r.n_answers, (long long)r.n_lines, o->out, (long long)r.n_empty, (long long)r.n_cut,
           o->max_tokens);
    if (r.n_bad) printf("quarantined: %lld unusable lines\n", (long long)r.n_bad);
    printf("%.1f s: %.3g lines/s, %.3g tokens/s; %lld videos decoded, %.0f%% of the prompts' tokens shared\n",
           r.seconds, r.lines_per_s, r.tokens_per_s, (long long)r.n_decoded,
           r.prompt_tokens ? 100.0 * (double)r.shared_tokens / (double)r.prompt_tokens : 0);
    return CLI_OK;
}

/* --batch, as it is called elsewhere. */
static int batch_option(void *user, const char *name, const char *value) {
    lpo_generate_options *o = user;
    if (strcmp(name, "batch")) return 0;
    char *end = NULL;
    const long n = value ? strtol(value, &end, 10) : 0;
    if (!value || end == value || *end || n < 1 || n > 65536)
        return cli_usage("generate", "--batch %s: give 1..65536", value ? value : ""), -1;
    o->batch_size = (int)n;
    return 1;
}

int cmd_generate(int argc, char **argv) {
    lpo_generate_options o = lpo_generate_options_default();
    cli_list stop = {.n = 0};
    int json = 0, n_rest, rc;
    const cli_option opts[] = {
        MODEL_OPTIONS(o),
        {"video", CLI_STR, &o.video, "V", "a video file"},
        {"prompt", CLI_STR, &o.prompt, "Q", "the question"},
        {"data", CLI_STR, &o.data, "qa.jsonl", "or a file of questions, {\"video\",\"question\"} a line"},
        {"out", CLI_STR, &o.out, "F.jsonl",
         "its lines with \"completion\" and \"finish_reason\"; OUT.partial until it is whole"},
        {"n", CLI_INT, &o.n_samples, "N", "answers to each line, as a list \"completions\" (default 1)"},
        {"batch-size", CLI_INT, &o.batch_size, "N",
         "answers generated together (default 64); any gives the same file"},
        {"resume", CLI_FLAG, &o.resume, NULL,
         "go on with an interrupted run: the bytes of one never stopped"},
        {"limit", CLI_I64, &o.limit, "N", "only the first N lines"},
        {"max-bad", CLI_REAL, &o.max_bad, "X", "share of unusable lines that stops the run (default .01)"},
        {"augment", CLI_STR, &o.augment, "SPEC", "augment the video first, e.g. grey,noise=8"},
        {"dtype", CLI_STR, &o.dtype, "T", "parameter storage: f32 (default), bf16"},
        {"max-tokens", CLI_INT, &o.max_tokens, "N", "longest answer (default 128)"},
        {"stop", CLI_LIST, &stop, "TEXT", "end the answer before this text; may be given several times"},
        {"temperature", CLI_REAL, &o.temperature, "X", "0 = greedy (default)"},
        {"top-p", CLI_REAL, &o.top_p, "X", "nucleus sampling; 1 = off (default)"},
        {"top-k", CLI_INT, &o.top_k, "N", "0 = off (default)"},
        {"seed", CLI_U64, &o.seed, "N", "of the sampling"},
        {"json", CLI_FLAG, &json, NULL, "the answer, or the summary, as JSON"},
        {0},
    };
    if ((rc = cli_parse("generate", opts, argc, argv, &n_rest, batch_option, &o)) ||
        (rc = no_rest("generate", n_rest, argv)))
        return rc;
    o.stop = stop.item;
    o.n_stop = stop.n;
    if (o.data && (o.video || o.prompt))
        return cli_usage("generate", "--data has the videos and questions: leave out --video and --prompt");
    if ((rc = need("generate", o.model, "model")) ||
        (rc = o.data || o.out ? CLI_OK : need("generate", o.prompt, "prompt")) ||
        (rc = o.out ? need("generate", o.data, "data") : CLI_OK) ||
        (rc = o.data ? need("generate", o.out, "out") : CLI_OK) ||
        (rc = cli_check_clips("generate", o.model, &o.clips)))
        return rc;
    return o.data ? generate_many(&o, json) : generate_one(&o, json);
}
