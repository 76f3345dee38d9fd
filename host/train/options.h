/* SPDX-License-Identifier: Apache-2.0 */
/* options.h -- the one table of a training run's options. It is the flags of the CLI, the keys of --config
 * files and of RUN/config.json, and the reader's types: a row added here is an option everywhere. */
#ifndef LPO_TRAIN_OPTIONS_H
#define LPO_TRAIN_OPTIONS_H
#include "base/json.h"
#include "leanpo/train.h"

#include <stdbool.h>

/* What an option means for a resumed run whose value differs from the one it was started with. */
typedef enum lpo_resume_rule {
    LPO_RESUME_REFUSE, /* the results would be a different run's */
    LPO_RESUME_WARN,   /* legitimate (a longer run), but worth a line */
    LPO_RESUME_FREE    /* no influence on any number */
} lpo_resume_rule;

/* X(name, alias, type, default, min, max, choices "a|b" or NULL, resume rule, help). An empty default is "not
 * given". */
#define LPO_TRAIN_OPTION_LIST(X)                                                                             \
    X(model, "model_name_or_path", STR, "", 0, 0, NULL, REFUSE, "folder of the model to train")              \
    X(data, "dataset_name", STR, "", 0, 0, NULL, REFUSE,                                                     \
      "JSONL of preference pairs (or of QA records, for sft)")                                               \
    X(eval_data, "", STR, "", 0, 0, NULL, REFUSE, "JSONL of held-out records for eval_* and displacement")   \
    X(out, "output_dir", STR, "", 0, 0, NULL, FREE, "run folder: config, metrics, checkpoints")              \
    X(objective, "loss_type", STR, "leanpo", 0, 0, NULL, REFUSE,                                             \
      "loss by name, or a weighted sum such as leanpo+1.0*sft")                                              \
    X(set, "", STR, "", 0, 0, NULL, REFUSE, "hyper-parameters of the loss, k=v,k=v (may be repeated)")       \
    X(beta, "", REAL, "", 0, 1e6, NULL, REFUSE, "reward scale of the loss (its own default when not given)") \
    X(smoothing, "", STR, "", 0, 0, NULL, REFUSE,                                                            \
      "label smoothing rule of leanpo: margin, fixed, schedule, batch, grounding")                           \
    X(label_smoothing, "eps", REAL, "", 0, 1, NULL, REFUSE,                                                  \
      "constant label smoothing of the losses that have one")                                                \
    X(ref_model, "", STR, "", 0, 0, NULL, REFUSE,                                                            \
      "folder of the reference model (default: the starting model)")                                         \
    X(learning_rate, "lr", REAL, "5e-7", 0, 1e3, NULL, REFUSE, "peak learning rate")                         \
    X(lr_scheduler_type, "scheduler", STR, "cosine", 0, 0,                                                   \
      "cosine|linear|constant|constant_with_warmup|inverse_sqrt", REFUSE,                                    \
      "shape of the learning rate after warm-up")                                                            \
    X(lr_min_ratio, "", REAL, "0", 0, 1, NULL, REFUSE, "cosine and linear end at this share of the peak")    \
    X(warmup_steps, "", INT, "0", 0, 1e15, NULL, REFUSE,                                                     \
      "steps of linear warm-up; over 0 it replaces warmup_ratio")                                            \
    X(warmup_ratio, "", REAL, "0.1", 0, 1, NULL, REFUSE, "share of all steps spent warming up")              \
    X(weight_decay, "", REAL, "0", 0, 1e3, NULL, REFUSE, "decoupled; norms and biases are exempt")           \
    X(adam_beta1, "", REAL, "0.9", 0, 1, NULL, REFUSE, "decay of the gradient's mean")                       \
    X(adam_beta2, "", REAL, "0.999", 0, 1, NULL, REFUSE, "decay of the gradient's square")                   \
    X(adam_epsilon, "", REAL, "1e-8", 0, 1, NULL, REFUSE, "added to the denominator")                        \
    X(max_grad_norm, "", REAL, "1.0", 0, 1e9, NULL, REFUSE, "clip by global norm; 0 = off")                  \
    X(per_device_train_batch_size, "batch_size", INT, "1", 1, 65536, NULL, REFUSE,                           \
      "records in memory at once")                                                                           \
    X(gradient_accumulation_steps, "accumulation", INT, "8", 1, 65536, NULL, REFUSE,                         \
      "micro-batches per optimizer step")                                                                    \
    X(num_train_epochs, "epochs", REAL, "1", 0, 1e9, NULL, WARN, "passes over the data; fractions are fine") \
    X(max_steps, "steps", INT, "0", -1, 1e15, NULL, WARN,                                                    \
      "optimizer steps; over 0 it replaces num_train_epochs")                                                \
    X(seed, "", INT, "42", 0, 9e15, NULL, REFUSE, "order of the data and every random choice")               \
    X(limit, "", INT, "0", 0, 1e15, NULL, REFUSE, "use the first N good records only; 0 = all")              \
    X(eval_steps, "", INT, "0", 0, 1e15, NULL, REFUSE,                                                       \
      "evaluate every N steps; 0 = before the first and after the last")                                     \
    X(save_steps, "", INT, "100", -1, 1e15, NULL, FREE,                                                      \
      "checkpoint every N steps; 0 = after the last only, -1 = never")                                       \
    X(save_total_limit, "", INT, "0", 0, 1e6, NULL, FREE, "checkpoints kept, the newest; 0 = all")           \
    X(logging_steps, "", INT, "1", 1, 1e15, NULL, REFUSE, "write that step's metrics every N steps")         \
    X(gradient_checkpointing, "", BOOL, "false", 0, 0, NULL, REFUSE,                                         \
      "recompute activations in the backward pass: less memory, a third more time")                          \
    X(shared_prefix, "", BOOL, "true", 0, 0, NULL, REFUSE,                                                   \
      "compute what chosen and rejected have in common (video, question) once")                              \
    X(train_groups, "", STR, "llm", 0, 0, NULL, REFUSE,                                                      \
      "what is trained: comma list of llm, projector, vision, or all")                                       \
    X(lora_r, "", INT, "0", 0, 65536, NULL, REFUSE,                                                          \
      "rank of LoRA adapters, trained instead of the model; 0 = none")                                       \
    X(lora_alpha, "", REAL, "16", 0, 1e9, NULL, REFUSE, "adapters are scaled by alpha/r")                    \
    X(lora_dropout, "", REAL, "0.05", 0, 0.99, NULL, REFUSE, "share of an adapter's inputs left out")        \
    X(lora_target_modules, "", STR, "", 0, 0, NULL, REFUSE,                                                  \
      "Linears with adapters, e.g. q_proj,v_proj or layers.3.* (default: all of the decoder but lm_head)")   \
    X(use_rslora, "", BOOL, "false", 0, 0, NULL, REFUSE, "scale by alpha/sqrt(r) instead")                   \
    X(dtype, "", STR, "", 0, 0, "f32|bf16|f64", REFUSE,                                                      \
      "storage of the parameters; bf16 keeps an f32 master copy")                                            \
    X(place, "", STR, "auto", 0, 0, NULL, WARN,                                                              \
      "device of the backbone, or stage=device,...; auto measures")                                          \
    X(n_threads, "threads", INT, "0", 0, 4096, NULL, FREE, "compute threads; 0 = all cores")                 \
    X(n_workers, "dataloader_num_workers", INT, "1", 1, 1024, NULL, FREE,                                    \
      "threads that decode and preprocess ahead")                                                            \
    X(cache, "", INT, "1024", 0, 1e9, NULL, FREE, "MiB of resized frames kept in memory")                    \
    X(resume, "resume_from_checkpoint", BOOL, "false", 0, 0, NULL, FREE,                                     \
      "go on from the newest whole checkpoint of out")                                                       \
    X(max_bad, "", REAL, "0.01", 0, 1, NULL, REFUSE,                                                         \
      "share of bad records above which the run stops before training")                                      \
    X(chat_template, "", STR, "", 0, 0, NULL, REFUSE,                                                        \
      "name a chat template instead of the model folder's own")                                              \
    X(frames, "num_frames", INT, "", 1, 768, NULL, REFUSE,                                                   \
      "exactly N frames of every video (default: as the model's folder says)")                               \
    X(fps, "", REAL, "", 1e-6, 1e6, NULL, REFUSE, "or so many frames a second")                              \
    X(max_pixels, "", INT, "", 1, 268435456, NULL, REFUSE,                                                   \
      "most pixels of a resized frame, for families that resize by area")                                    \
    X(min_pixels, "", INT, "", 1, 268435456, NULL, REFUSE, "least pixels of a resized frame")                \
    X(trace, "", STR, "", 0, 0, "stages|ops", FREE,                                                          \
      "write RUN/trace.json: time by stage, or by op too (slower, each is waited for)")                      \
    X(displacement_size, "", INT, "64", 0, 1e9, NULL, REFUSE,                                                \
      "records of the fixed set whose likelihood is followed (from eval_data, else the head of data)")

typedef enum lpo_train_option_id {
#define LPO_X(name, alias, type, fallback, min, max, choices, rule, help) LPO_TRAIN_##name,
    LPO_TRAIN_OPTION_LIST(LPO_X)
#undef LPO_X
        LPO_TRAIN_N_OPTIONS
} lpo_train_option_id;

lpo_train_options *lpo_train_options_copy(const lpo_train_options *o); /* NULL when out of memory */

/* Typed values: text was checked when it was set. An empty number is 0. */
const char *lpo_train_str(const lpo_train_options *o, lpo_train_option_id id);
int64_t lpo_train_int(const lpo_train_options *o, lpo_train_option_id id);
double lpo_train_real(const lpo_train_options *o, lpo_train_option_id id);
bool lpo_train_bool(const lpo_train_options *o, lpo_train_option_id id);
bool lpo_train_is_given(const lpo_train_options *o,
                        lpo_train_option_id id); /* by set or load, not by default */

/* {"learning_rate": 5e-07, ...}: every option but resume, typed. New reference; NULL when out of memory. */
json_t *lpo_train_options_json(const lpo_train_options *o);
/* Take from `saved` (such an object) the options the user did not give. */
lpo_status lpo_train_options_inherit(lpo_train_options *o, const json_t *saved, const char *where,
                                     lpo_error *err);
/* Compare with the options a run was started with: differences are refused in one message that names them
 * all, or logged, as each one's rule says. */
lpo_status lpo_train_options_same_run(const lpo_train_options *o, const json_t *saved, const char *where,
                                      lpo_error *err);
#endif
