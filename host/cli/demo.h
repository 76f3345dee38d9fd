/* SPDX-License-Identifier: Apache-2.0 */
/* demo.h -- the moving-shapes experiment: what the demo's files share.
 * For each seed: world -> captions -> SFT -> pairs -> one preference run a cell -> evaluation. A cell is one
 * row of the table: an objective, a learning rate and the pairs it is trained on. Everything of a seed lies
 * in its folder, and every stage is done again only as far as it is not finished: an interrupted demo goes
 * on. */
#ifndef LPO_CLI_DEMO_H
#define LPO_CLI_DEMO_H
#include "cli.h"
#include "leanpo/pairs.h"
#include "leanpo/train.h"

enum { DEMO_PATH = 4096, DEMO_SEEDS = 32, DEMO_CURVE = 64, DEMO_STAGES = 16 };

/* Ways to make pairs; the first is the method, the others leave one thing of it out. */
typedef enum demo_pairs {
    DEMO_PAIRS,
    DEMO_NO_HINT,
    DEMO_NO_REFLECTION,
    DEMO_PLAIN_LOSER,
    DEMO_TEMPLATE,
    DEMO_FLIPPED,
    DEMO_N_PAIRS
} demo_pairs;

typedef struct demo_cell {
    const char *name;   /* in tables */
    const char *folder; /* runs/FOLDER */
    const char *objective, *learning_rate, *smoothing, *label_smoothing;
    demo_pairs pairs;
    bool full; /* with --full only */
} demo_cell;
extern const demo_cell demo_cells[]; /* ends with a NULL name */
enum {
    DEMO_CELLS = 15,
    DEMO_SFT_1E4 = 0,
    DEMO_DPO_1E4,
    DEMO_SIMPO_1E4,
    DEMO_LEANPO_1E4,
    DEMO_DPO_3E5,
    DEMO_LEANPO_3E5,
    DEMO_LEANPO_SFT
};

/* Change of the mean log-probability per token on the probe pairs, by step. */
typedef struct demo_curve {
    int n;
    double step[DEMO_CURVE], chosen[DEMO_CURVE], rejected[DEMO_CURVE];
    double accuracy[DEMO_CURVE]; /* share of the pairs whose reward prefers the winner; NaN: no rewards */
} demo_curve;

typedef struct demo_outcome {
    bool done;
    lpo_eval_result eval;
    demo_curve curve;
} demo_outcome;

typedef struct demo_seed {
    uint64_t seed;
    char dir[DEMO_PATH], world[DEMO_PATH];
    char model[DEMO_PATH]; /* of the last stage */
    char sft_model[DEMO_PATH], leanpo_model[DEMO_PATH];
    double chance;
    lpo_eval_result before, sft;
    struct {
        long long n_questions, n_pairs;
        double trust_chosen, trust_rejected, rho, rho_low, rho_high;
    } pairs[DEMO_N_PAIRS];
    demo_outcome cell[DEMO_CELLS];
    const char *stage[DEMO_STAGES];
    double seconds[DEMO_STAGES], started;
    int n_stages;
} demo_seed;

typedef struct demo {
    const char *out, *place;
    uint64_t first_seed;
    int n_seeds, jobs, n_threads, full, quick;
    int n_sft, n_pairs, n_probe, n_heldout; /* videos */
    demo_seed *seed; /* of DEMO_SEEDS, as the next two: memory the seeds' processes share */
    lpo_status *status;
    lpo_error *err;
    double seconds;
} demo;

double demo_now(void);
bool demo_has(const demo *d, int cell);

/* demo_data.c: files of QA and pairs lines. Videos are split once, by number. */
typedef struct demo_selection {
    int first, last;  /* video numbers, last exclusive */
    int n_objects;    /* 0 = any */
    double share_one; /* with n_objects 0: thin one-object lines to this share (0 = all lines) */
    int per_video;    /* lines of a video, drawn by their ids; 0 = all */
} demo_selection;
lpo_status demo_take_lines(const demo_seed *s, const char *from, const char *to, demo_selection pick,
                           lpo_error *err);
/* Questions for SFT: three in five plain, one in five with a hint, one in five with a draft and a hint, so
 * that the model can be asked for winners later. */
lpo_status demo_mix_prompts(const demo_seed *s, const char *from, const char *to, lpo_error *err);
lpo_status demo_template_pairs(const demo_seed *s, const char *qa, const char *to, lpo_error *err);
lpo_status demo_flip_pairs(const demo_seed *s, const char *from, const char *to, lpo_error *err);
/* Accuracy of guessing among the answers of each type, as the types occur. */
double demo_chance(const demo_seed *s, const lpo_eval_result *r);
lpo_status demo_read_curve(demo_curve *c, const char *run, lpo_error *err);

/* demo_seed.c */
lpo_status demo_run_seed(demo *d, demo_seed *s, lpo_error *err);

/* demo_table.c: the table on stdout and demo.json. */
typedef struct demo_stat {
    int n, positive;
    double mean, sd;
} demo_stat;
demo_stat demo_stat_of(const double *v, int n);
demo_stat demo_chosen(const demo *d, int cell); /* displacement of the winner at the end, over seeds */
demo_stat demo_rejected(const demo *d, int cell);
demo_stat demo_gain(const demo *d, int cell);     /* accuracy less that after SFT */
demo_stat demo_less(const demo *d, int a, int b); /* chosen displacement of a less that of b, seed by seed */
/* Chosen displacement of a and of b where both have reached the same margin (chosen less rejected). */
bool demo_matched(demo_stat *a_chosen, demo_stat *b_chosen, double *margin, const demo *d, int a, int b);
void demo_print(const demo *d);
lpo_status demo_write_json(const demo *d, lpo_error *err);

/* demo_report.c */
lpo_status demo_write_report(const demo *d, lpo_error *err);
#endif
