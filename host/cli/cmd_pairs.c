/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_pairs.c -- pairs: preference data from video questions. */
#include "cli.h"
#include "leanpo/pairs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static int print_json(const lpo_pairs_result *r, const lpo_pairs_options *o) {
    const lpo_judge_counts *j = &r->judge;
    return cli_print_json(json_pack(
        "{sI sI s{sI sI sI sI} sI sf sf sf sf so s{so so so sI} s{sI sI sI sI sI sI sI} sf sf sf sf sf sI "
        "ss}",
        "n_questions", (json_int_t)r->n_questions, "n_pairs", (json_int_t)r->n_pairs, "dropped", "gap",
        (json_int_t)r->n_gap, "identical", (json_int_t)r->n_identical, "empty", (json_int_t)r->n_empty,
        "judge", (json_int_t)r->n_judge, "n_bad", (json_int_t)r->n_bad, "trust_chosen", r->trust_chosen,
        "trust_rejected", r->trust_rejected, "reward_chosen", r->reward_chosen, "reward_rejected",
        r->reward_rejected, "grounding", real_or_null(r->grounding), "rho", "value", real_or_null(r->rho),
        "low", real_or_null(r->rho_low), "high", real_or_null(r->rho_high), "candidates",
        (json_int_t)r->n_candidates, "judge", "calls", (json_int_t)j->calls, "retries",
        (json_int_t)j->retries, "timeouts", (json_int_t)j->timeouts, "bad_replies",
        (json_int_t)j->bad_replies, "late_replies", (json_int_t)j->late_replies, "restarts",
        (json_int_t)j->restarts, "failed", (json_int_t)j->failed, "seconds", r->seconds, "questions_per_s",
        r->questions_per_s, "tokens_per_s", r->tokens_per_s, "wait_videos", r->wait_videos, "wait_judge",
        r->wait_judge, "videos_decoded", (json_int_t)r->n_decoded, "out", o->out));
}

/* Of OUT without .jsonl, which the files beside it begin with. */
static int stem_length(const char *out) {
    const size_t n = strlen(out);
    return (int)(n > 6 && !strcmp(out + n - 6, ".jsonl") ? n - 6 : n);
}

static void print_text(const lpo_pairs_result *r, const lpo_pairs_options *o) {
    const bool judged = o->judge_cmd || o->judge_url;
    const lpo_judge_counts *j = &r->judge;
    printf("%lld pairs from %lld questions -> %s\n", (long long)r->n_pairs, (long long)r->n_questions,
           o->out);
    printf("dropped: %lld with a trust gap of at most %g, %lld identical, %lld empty%s", (long long)r->n_gap,
           o->min_gap, (long long)r->n_identical, (long long)r->n_empty, judged ? "" : "\n");
    if (judged) printf(", %lld without a judge's score\n", (long long)r->n_judge);
    if (r->n_bad)
        printf("quarantined: %lld unusable line%s (%.*s.quarantine.jsonl says why)\n", (long long)r->n_bad,
               r->n_bad > 1 ? "s" : "", stem_length(o->out), o->out);
    printf("trust (%s): chosen %.3f, rejected %.3f; reward: chosen %.3f, rejected %.3f",
           judged ? "judge" : o->trust, r->trust_chosen, r->trust_rejected, r->reward_chosen,
           r->reward_rejected);
    printf(isfinite(r->grounding) ? "; grounding %.3f\n" : "\n", r->grounding);
    printf("Spearman's rho of reward and trust over %lld candidates: %.3f (95%%: %.3f to %.3f)\n",
           (long long)r->n_candidates, r->rho, r->rho_low, r->rho_high);
    if (judged)
        printf("judge: %lld calls, %lld retries, %lld timeouts, %lld bad and %lld late replies, %lld "
               "restarts, %lld "
               "candidates without a score\n",
               (long long)j->calls, (long long)j->retries, (long long)j->timeouts, (long long)j->bad_replies,
               (long long)j->late_replies, (long long)j->restarts, (long long)j->failed);
    printf("%.1f s: %.1f questions/s, %.0f tokens/s, %lld videos decoded; waited for videos %.0f%%",
           r->seconds, r->questions_per_s, r->tokens_per_s, (long long)r->n_decoded, 100 * r->wait_videos);
    if (judged) printf(", for the judge %.0f%%", 100 * r->wait_judge);
    printf("\nevery answer and score: %.*s.candidates.jsonl\n", stem_length(o->out), o->out);
}

int cmd_pairs(int argc, char **argv) {
    lpo_pairs_options o = lpo_pairs_options_default();
    const char *templates_to = NULL, *losers = "augmented";
    int json = 0, n_rest, rc;
    const cli_option opts[] = {
        {"model", CLI_STR, &o.model, "DIR", "Hugging Face model folder: the policy that answers"},
        {"adapter", CLI_STR, &o.adapter, "DIR", "LoRA adapters for it (PEFT's folder)"},
        {"data", CLI_STR, &o.data, "qa.jsonl", "questions with answers"},
        {"out", CLI_STR, &o.out, "pairs.jsonl", "pairs in TRL's form; OUT.partial until it is whole"},
        {"resume", CLI_FLAG, &o.resume, NULL,
         "go on with an interrupted run: the bytes of one never stopped"},
        {"augment", CLI_STR, &o.augment, "SPEC",
         "views losers come from, one drawn for each video (default grey|noise=40|shuffle|reverse); none"},
        {"losers", CLI_STR, &losers, "WHICH",
         "augmented (default) or plain: losers made on the video itself"},
        {"no-prior", CLI_FLAG, &o.no_prior, NULL, "the first answer is made without the true one"},
        {"no-reflection", CLI_FLAG, &o.no_reflection, NULL, "the first answer is the winner"},
        {"templates", CLI_STR, &o.templates, "DIR", "prompts: plain (default), world, or a folder of files"},
        {"print-templates", CLI_STR, &templates_to, "DIR", "write the prompts as files to edit, and end"},
        {"trust", CLI_STR, &o.trust, "T", "content_f1 (default), token_f1, chrf, exact"},
        {"judge-cmd", CLI_STR, &o.judge_cmd, "CMD",
         "score with a program: lines {\"id\",\"question\",\"answer\",\"candidate\"} in, {\"id\",\"score\"} "
         "out"},
        {"judge-url", CLI_STR, &o.judge_url, "URL", "score with an OpenAI-compatible .../chat/completions"},
        {"judge-model", CLI_STR, &o.judge_model, "NAME", "the model named in its requests"},
        {"judge-key-env", CLI_STR, &o.judge_key_env, "VAR", "the environment variable that holds its key"},
        {"judge-timeout", CLI_REAL, &o.judge_timeout_s, "S", "for one reply, in seconds (default 60)"},
        {"judge-retries", CLI_INT, &o.judge_retries, "N",
         "of a candidate without a usable reply (default 2)"},
        {"judge-parallel", CLI_INT, &o.judge_parallel, "N", "candidates asked about at a time (default 4)"},
        {"judge-budget", CLI_I64, &o.judge_budget, "N", "most calls of the run (default 0: no limit)"},
        {"min-gap", CLI_REAL, &o.min_gap, "X", "keep a pair when its trusts differ by more (default .1)"},
        {"temperature", CLI_REAL, &o.temperature_chosen, "X", "of first answers and winners (default .7)"},
        {"temperature-rejected", CLI_REAL, &o.temperature_rejected, "X", "of losers (default 1)"},
        {"top-p", CLI_REAL, &o.top_p, "X", "(default 1: off)"},
        {"top-k", CLI_INT, &o.top_k, "N", "(default 0: off)"},
        {"max-tokens", CLI_INT, &o.max_tokens, "N", "longest answer (default 128)"},
        {"batch-size", CLI_INT, &o.batch_size, "N",
         "answers generated together (default 64); any gives the same file"},
        {"seed", CLI_U64, &o.seed, "N", "of the sampling and the augmentation"},
        {"limit", CLI_I64, &o.limit, "N", "only the first N questions"},
        {"max-bad", CLI_REAL, &o.max_bad, "X", "share of unusable lines that stops the run (default .01)"},
        {"place", CLI_STR, &o.place, "SPEC", "stage=device,... or one device (cpu, ref)"},
        {"dtype", CLI_STR, &o.dtype, "T", "parameter storage: f32 (default), bf16, f64 (ref only)"},
        {"chat-template", CLI_STR, &o.chat_template, "NAME", "chatml or vicuna instead of the folder's own"},
        CLI_CLIP_OPTIONS(o.clips),
        {"threads", CLI_INT, &o.n_threads, "N", "CPU threads (default: all)"},
        {"json", CLI_FLAG, &json, NULL, "the summary as JSON"},
        {0},
    };
    if ((rc = cli_parse("pairs", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest) return cli_usage("pairs", "unexpected argument \"%s\"", argv[1]);
    lpo_error err;
    if (templates_to) {
        if (lpo_pairs_write_templates(templates_to, &err)) return cli_fail("pairs", &err);
        printf("%s: prior.txt, reflection.txt, judge.txt (leanpo pairs --templates %s)\n", templates_to,
               templates_to);
        return CLI_OK;
    }
    if (strcmp(losers, "augmented") && strcmp(losers, "plain"))
        return cli_usage("pairs", "--losers %s: choose augmented or plain", losers);
    if (!strcmp(losers, "plain")) o.augment = "none";
    const char *const needed[][2] = {
        {o.model, "model DIR"}, {o.data, "data qa.jsonl"}, {o.out, "out pairs.jsonl"}};
    for (int i = 0; i < 3; i++)
        if (!needed[i][0]) return cli_usage("pairs", "--%s is needed (leanpo pairs --help)", needed[i][1]);
    if ((rc = cli_check_clips("pairs", o.model, &o.clips))) return rc;
    lpo_pairs_result r;
    if (lpo_pairs(&r, &o, cli_progress, NULL, &err)) return cli_fail("pairs", &err);
    if (json) return print_json(&r, &o);
    print_text(&r, &o);
    return CLI_OK;
}
