/* SPDX-License-Identifier: Apache-2.0 */
/* What sharing the prompt of a pair saves: seconds and activation memory of a step (forward, backward, AdamW)
 * on one pair whose prompt is four times as long as each response, with the layer proportions of a 7B model,
 * each way, trained whole and by adapters. Steps take turns, the median counts. train_shared [PROMPT RESPONSE
 * LAYERS STEPS] */
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "leanpo/device.h"
#include "model/lora.h"
#include "train/engine.h"
#include "train/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lpo_error err;

static void must(lpo_status s) {
    if (!s) return;
    fprintf(stderr, "%s\n", err.msg);
    exit(1);
}

/* hidden : ff : query heads : kv heads as in Qwen2-VL-7B (3584 : 18944 : 28 : 4), an eighth of it. */
static lpo_model *make(const char *dir, int layers, int positions, bool lora) {
    char config[512];
    lpo_model *m;
    snprintf(config, sizeof config,
             "{\"hidden_size\":448,\"intermediate_size\":2368,\"num_hidden_layers\":%d,\"vocab_size\":19008,"
             "\"num_attention_heads\":7,\"num_key_value_heads\":1,\"max_position_embeddings\":%d,"
             "\"vision_config\":{\"hidden_size\":448},\"rope_scaling\":{\"mrope_section\":[8,12,12]}}",
             layers, positions);
    must(lpo_model_init(dir, &(lpo_init_options){.config = config, .seed = 1}, &err));
    must(lpo_model_load(&m, dir, NULL, &err));
    if (lora) must(lpo_lora_attach(m, &(lpo_lora_options){.r = 8, .alpha = 16}, 1, &err));
    must(lpo_model_set_trainable(m, lora ? "lora" : "llm", &err));
    must(lpo_model_alloc_grads(m, &err));
    return m;
}

static int by_size(const void *a, const void *b) {
    const double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

typedef struct side {
    lpo_engine e;
    double seconds[64];
    size_t bytes;
} side;

static void step(side *s, lpo_optimizer *o, const lpo_batch *b, int k) {
    lpo_rows r;
    double norm;
    const double t0 = lpo_now_s();
    must(lpo_model_zero_grads(s->e.model, &err));
    must(lpo_engine_forward(&r, &s->e, b, 0, 1, true, true, &err));
    double *g = calloc((size_t)(r.start_w[1] + r.start_l[1]), sizeof *g);
    for (int64_t i = 0; i < r.start_w[1]; i++) g[i] = -1e-3;
    for (int64_t i = 0; i < r.start_l[1]; i++) g[r.start_w[1] + i] = 1e-3;
    must(lpo_engine_backward(&s->e, &r, g, g + r.start_w[1], &err));
    must(lpo_optimizer_grad_norm(&norm, o, &err));
    must(lpo_optimizer_step(o, 1e-6, k + 1, &err));
    free(g);
    s->seconds[k] = lpo_now_s() - t0;
    s->bytes = lpo_tape_arena_bytes(s->e.tape);
}

static void measure(const char *dir, const char *what, int n_prompt, int n_response, int layers, int steps,
                    bool checkpoint, bool lora) {
    lpo_model *m = make(dir, layers, n_prompt + n_response, lora);
    lpo_optimizer *o;
    must(lpo_optimizer_create(&o, m, &(lpo_adamw){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, &err));
    int32_t *ids[2];
    lpo_rng rng = lpo_rng_init(3, 0);
    for (int k = 0; k < 2; k++) {
        ids[k] = malloc((size_t)(n_prompt + n_response) * sizeof(int32_t));
        for (int i = 0; i < n_prompt + n_response; i++)
            ids[k][i] = k && i < n_prompt ? ids[0][i] : (int32_t)lpo_rng_below(&rng, 18000);
    }
    const size_t n = (size_t)(n_prompt + n_response);
    lpo_sample pair = {
        .chosen = {ids[0], n, n}, .rejected = {ids[1], n, n}, .n_prompt = n_prompt, .clip = -1};
    const lpo_batch b = {.n_samples = 1, .samples = &pair};
    static side s[2]; /* separate, shared */
    for (int k = 0; k < 2; k++) {
        must(lpo_engine_open(&s[k].e, m, checkpoint, &err));
        s[k].e.separate = !k;
    }
    for (int i = 0; i < steps; i++)
        for (int k = 0; k < 2; k++) step(&s[k], o, &b, i);
    for (int k = 0; k < 2; k++) {
        qsort(s[k].seconds, (size_t)steps, sizeof(double), by_size);
        lpo_engine_close(&s[k].e);
    }
    const double a = s[0].seconds[steps / 2], c = s[1].seconds[steps / 2];
    printf("%-28s %8.3f s %8.3f s %6.2fx %10.1f MiB %8.1f MiB %6.2fx\n", what, a, c, a / c,
           (double)s[0].bytes / (1 << 20), (double)s[1].bytes / (1 << 20),
           (double)s[0].bytes / (double)s[1].bytes);
    free(ids[0]);
    free(ids[1]);
    lpo_optimizer_destroy(o);
    lpo_model_destroy(m);
}

int main(int argc, char **argv) {
    const int prompt = argc > 1 ? atoi(argv[1]) : 1024, response = argc > 2 ? atoi(argv[2]) : 256,
              layers = argc > 3 ? atoi(argv[3]) : 4, given = argc > 4 ? atoi(argv[4]) : 5;
    const int steps = given < 1 ? 1 : given > 64 ? 64 : given;
    char dir[] = "/tmp/leanpo-shared-XXXXXX";
    if (!mkdtemp(dir)) return 1;
    printf("%d prompt tokens, 2 x %d response tokens, %d layers, %d threads\n%-28s %10s %10s %7s %14s %12s\n",
           prompt, response, layers, lpo_device_threads(0), "", "separate", "shared", "", "memory: sep.",
           "shared");
    measure(dir, "whole", prompt, response, layers, steps, false, false);
    measure(dir, "whole, recomputed", prompt, response, layers, steps, true, false);
    measure(dir, "LoRA", prompt, response, layers, steps, false, true);
    measure(dir, "LoRA, recomputed", prompt, response, layers, steps, true, true);
    return lpo_dir_remove(dir, &err) != LPO_OK;
}
