/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h -- what the commands share: options from a table, progress on stderr, one way to fail.
 * Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted. Results go to stdout, everything else to
 * stderr. */
#ifndef LPO_CLI_CLI_H
#define LPO_CLI_CLI_H
#include "leanpo/prep.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

typedef enum cli_kind {
    CLI_FLAG /* int, set to 1 */,
    CLI_INT,
    CLI_I64,
    CLI_U64,
    CLI_COUNT /* int64_t, at least 1 */,
    CLI_REAL,
    CLI_RATE /* double, above 0 */,
    CLI_STR,
    CLI_LIST
} cli_kind;

/* An option that may be given several times. */
enum { CLI_MAX_LIST = 16 };
typedef struct cli_list {
    const char *item[CLI_MAX_LIST];
    int n;
} cli_list;

typedef struct cli_option {
    const char *name; /* without the dashes */
    cli_kind kind;
    void *dst;        /* int, int, int64_t, uint64_t, int64_t, double, double, const char *, cli_list */
    const char *arg;  /* "DIR", "N"; NULL for a flag */
    const char *help; /* one line */
} cli_option;

/* An option the table does not have: 1 taken, 0 unknown, -1 taken and wrong (message printed). value is NULL
 * when none follows. */
typedef int cli_extra_fn(void *user, const char *name, const char *value);

typedef struct cli_command {
    const char *name, *args, *summary; /* "prep", "VIDEO... [options]", "preprocess videos" */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
} cli_command;
extern const cli_command cli_commands[]; /* ends with a NULL name */

/* Fills destinations; the rest is moved to argv[1..*n_rest]. Returns CLI_OK, CLI_USAGE (message printed), or
 * -1 when --help was printed. Options may be written --name value or --name=value; '-' and '_' are the same.
 * opts ends with a NULL name. */
int cli_parse(const char *command, const cli_option *opts, int argc, char **argv, int *n_rest,
              cli_extra_fn *extra, void *user);

/* "leanpo COMMAND: message" on stderr; CLI_INTERRUPTED for LPO_ECANCELED, else CLI_FAILED. */
int cli_fail(const char *command, const lpo_error *err);
int cli_usage(const char *command, const char *fmt, ...) LPO_PRINTF(2, 3);

/* Progress callback for the library: a bar with rate and ETA on a terminal after two seconds, else a plain
 * line every ten seconds. Returns non-zero after Ctrl-C. */
int cli_progress(void *user, const char *what, long long done, long long total);
/* The same with something more to say, ", 12 tokens/s". */
int cli_progress_note(const char *what, long long done, long long total, const char *note);
/* True after the first Ctrl-C (the second one kills). */
int cli_interrupted(void *user);
void cli_signals(void);

/* Print obj as one JSON line on stdout and drop it. */
int cli_print_json(json_t *obj);

/* export lines for a shell: XRT finds the software card instead of hardware. */
int cli_print_xrt_env(void);

/* The rows of a lpo_clip_options c: what every command that looks at videos can be asked of them. */
#define CLI_CLIP_OPTIONS(c)                                                                                  \
    {"frames", CLI_COUNT, &(c).n_frames, "N", "exactly N frames of every video (default: the model's)"},     \
        {"fps", CLI_RATE, &(c).fps, "X", "or X frames a second"},                                            \
        {"max-pixels", CLI_COUNT, &(c).max_pixels, "N",                                                      \
         "most pixels of a resized frame, for families that resize by area"},                                \
    {                                                                                                        \
        "min-pixels", CLI_COUNT, &(c).min_pixels, "N", "least pixels of a resized frame"                     \
    }
/* Can this model's family do what is asked? CLI_USAGE and the reason when not; a folder that cannot be read
 * is for the command to refuse. */
int cli_check_clips(const char *command, const char *model, const lpo_clip_options *c);

/* A cli_extra_fn: any option of training, into the lpo_train_options that user is. */
int cli_train_option(void *user, const char *name, const char *value);

int cmd_demo(int argc, char **argv);
int cmd_devices(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_objective(int argc, char **argv);
int cmd_pairs(int argc, char **argv);
int cmd_prep(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_world(int argc, char **argv);
int cmd_xclbin(int argc, char **argv);
#endif
