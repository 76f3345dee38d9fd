/* SPDX-License-Identifier: Apache-2.0 */
/* main.c -- leanpo COMMAND [options]: the table of commands and the way to the one named. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const cli_command cli_commands[] = {
    {"demo", "[--out DIR]", "the whole loop in minutes: videos, SFT, pairs, LeanPO, evaluation, report.html",
     cmd_demo},
    {"world", "--out DIR [--videos N]", "the moving-shapes data set: real video files and their questions",
     cmd_world},
    {"init", "--out DIR --family F --size S --tokenizer F", "a seeded random model as a Hugging Face folder",
     cmd_init},
    {"model", "info DIR [--frames N] | merge --adapter DIR --out DIR",
     "a model's family, parameters, and the memory it would take; LoRA adapters merged into one", cmd_model},
    {"train", "--model DIR --data F.jsonl --objective NAME --out RUN",
     "train on pairs (LeanPO, DPO, ...) or answers (sft)", cmd_train},
    {"eval", "--model DIR --data qa.jsonl", "accuracy, exact match, F1 on a question file", cmd_eval},
    {"score", "--model DIR --data F.jsonl --out F.jsonl",
     "log-likelihoods and rewards of the responses in a file", cmd_score},
    {"generate", "--model DIR --video V --prompt Q | --data qa.jsonl --out F.jsonl",
     "an answer about a video, streamed, or to every line of a file", cmd_generate},
    {"pairs", "--model DIR --data qa.jsonl --out pairs.jsonl",
     "preference pairs from the model's own answers", cmd_pairs},
    {"prep", "VIDEO... [--out F.safetensors]", "preprocess videos exactly as the model family does",
     cmd_prep},
    {"tokenize", "--model DIR [--chat] [--file F] [TEXT]", "token ids as JSON", cmd_tokenize},
    {"objective", "NAME --input F.json [--set k=v]", "one loss and its gradients in double precision",
     cmd_objective},
    {"report", "--run RUN [--out report.html]", "a self-contained page of a run's curves", cmd_report},
    {"profile", "--model DIR --data F.jsonl | --run RUN | -- COMMAND ...",
     "where the time goes: stages, queues, roofline, what a card would change", cmd_profile},
    {"devices", "", "what this machine can compute on", cmd_devices},
    {"xclbin", "info|check|pack|build ...",
     "FPGA containers: read, check, and build one for the software card", cmd_xclbin},
    {"doctor", "", "what is here, what is missing, and the command that mends it", cmd_doctor},
    {NULL, NULL, NULL, NULL},
};

static void on_log(void *user, lpo_log_level level, const char *line) {
    (void)user;
    if (level != LPO_LOG_DEBUG) fprintf(stderr, "%s%s\n", level == LPO_LOG_WARN ? "warning: " : "", line);
}

static int help(FILE *to) {
    fprintf(to,
            "leanpo " LEANPO_VERSION ": preference training for Video-LLMs\n\nleanpo COMMAND [options]\n\n");
    for (const cli_command *c = cli_commands; c->name; c++) fprintf(to, "  %-10s %s\n", c->name, c->summary);
    fprintf(to,
            "\nleanpo COMMAND --help lists a command's options. --place STAGE=fpga takes its kernels from\n"
            "--xclbin F (or $LEANPO_XCLBIN); without one, from the software card's.\n");
    return to == stdout ? CLI_OK : CLI_USAGE;
}

/* OpenMP threads that wait spin, and on a machine with other work to do they spin the time away from whoever
 * they wait for: beside a busy neighbour on two cores, 12 training steps took 21 s spinning and 2.6 s
 * sleeping. libgomp reads its settings once, when it is loaded, so say it before. The user's own setting
 * wins. */
static void sleep_while_waiting(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (!setenv("OMP_WAIT_POLICY", "passive", 1)) execv("/proc/self/exe", argv);
}

/* --xclbin F, of any command: the container for FPGA cards, as LEANPO_XCLBIN says it. Returns the new argc, 0
 * when the value is missing. */
static int take_container(int argc, char **argv) {
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        const char *value = !strncmp(argv[i], "--xclbin=", 9) ? argv[i] + 9 : NULL;
        if (!strcmp(argv[i], "--xclbin") && !(value = argv[++i])) return 0;
        if (value)
            setenv("LEANPO_XCLBIN", value, 1);
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv) {
    sleep_while_waiting(argv);
    lpo_log_set(on_log, NULL);
    cli_signals();
    if (!(argc = take_container(argc, argv))) return cli_usage("leanpo", "--xclbin F: F is missing");
    if (argc < 2) return help(stderr);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) return help(stdout);
    if (!strcmp(argv[1], "--version")) return puts("leanpo " LEANPO_VERSION) < 0;
    for (const cli_command *c = cli_commands; c->name; c++)
        if (!strcmp(c->name, argv[1])) {
            int rc = c->run(argc - 1, argv + 1);
            return rc < 0 ? CLI_OK : rc; /* -1: --help was printed */
        }
    fprintf(stderr, "leanpo: unknown command \"%s\"\n\n", argv[1]);
    return help(stderr);
}
