/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_model.c -- leanpo model info: what a folder holds and what it would take, before anything is loaded;
 * leanpo model merge: adapters added to the weights they are for. */
#include "cli.h"
#include "leanpo/model.h"

#include <stdio.h>
#include <string.h>

static json_t *part_json(const lpo_memory_part *p) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)p->weights, "gradients",
                     (json_int_t)p->grads, "optimizer", (json_int_t)p->optimizer, "activations",
                     (json_int_t)p->activations, "cache", (json_int_t)p->cache, "host", (json_int_t)p->host,
                     "total", (json_int_t)p->total);
}

static int print_json(const lpo_model_info *i, const lpo_model_memory *m, const lpo_memory_options *o) {
    return cli_print_json(json_pack(
        "{s:s, s:I, s:I, s:i, s:i, s:i, s:s, s:I, s:I, s:I, s:{s:o, s:o, s:o}}", "family", i->family,
        "parameters", (json_int_t)i->n_params, "vision_parameters", (json_int_t)i->n_vision_params,
        "vocabulary", i->vocab_size, "layers", i->n_layers, "max_positions", i->max_positions, "dtype",
        o->dtype, "video_tokens", (json_int_t)m->n_video, "sequence_tokens", (json_int_t)m->n_sequence,
        "lora_parameters", (json_int_t)m->lora_values, "bytes", "train", part_json(&m->train), "lora",
        part_json(&m->lora), "inference", part_json(&m->inference)));
}

static void print_part(const char *name, const lpo_memory_part *p) {
    const double G = 1024.0 * 1024 * 1024;
    printf("  %-10s %9.3f %9.3f %9.3f %11.3f %8.3f %8.3f %9.3f\n", name, (double)p->weights / G,
           (double)p->grads / G, (double)p->optimizer / G, (double)p->activations / G, (double)p->cache / G,
           (double)p->host / G, (double)p->total / G);
}

static void print_text(const lpo_model_info *i, const lpo_model_memory *m, const lpo_memory_options *o) {
    printf(
        "%s: %s, %lld parameters (%lld of them tower and projector), %d layers, vocabulary %d, context %d\n",
        i->dir, i->family, (long long)i->n_params, (long long)i->n_vision_params, i->n_layers, i->vocab_size,
        i->max_positions);
    printf("memory in GiB, %s, %d pair%s of %d frames (%lld video tokens, %lld in a sequence)%s:\n", o->dtype,
           o->n_pairs, o->n_pairs == 1 ? "" : "s", o->n_frames, (long long)m->n_video,
           (long long)m->n_sequence,
           o->gradient_checkpointing ? ", layers recomputed" : ", every activation kept");
    puts("               weights gradients optimizer activations    cache     host     total");
    print_part("train all", &m->train);
    print_part("LoRA", &m->lora);
    print_part("inference", &m->inference);
    printf("LoRA: rank %d on every Linear of the decoder but lm_head, %lld values\n", o->lora_rank,
           (long long)m->lora_values);
}

static int merge(int argc, char **argv) {
    const char *model = NULL, *adapter = NULL, *out = NULL, *dtype = NULL;
    int n_rest, rc;
    const cli_option opts[] = {
        {"model", CLI_STR, &model, "DIR", "the model the adapters are for (default: the one they name)"},
        {"adapter", CLI_STR, &adapter, "DIR", "LoRA adapters (PEFT's folder)"},
        {"out", CLI_STR, &out, "DIR", "the merged model"},
        {"dtype", CLI_STR, &dtype, "T", "of its weights: f32 (default), bf16"},
        {0},
    };
    if ((rc = cli_parse("model merge", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest || !adapter || !out)
        return cli_usage("model", "write: leanpo model merge [--model DIR] --adapter DIR --out DIR");
    lpo_error err;
    if (lpo_model_merge(out, model ? model : adapter, model ? adapter : NULL, dtype, &err))
        return cli_fail("model", &err);
    printf("%s\n", out);
    return CLI_OK;
}

int cmd_model(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "merge")) return merge(argc - 1, argv + 1);

    lpo_memory_options o = lpo_memory_options_default();
    const char *size = NULL;
    int json = 0, n_rest, rc;
    const cli_option opts[] = {
        {"dtype", CLI_STR, &o.dtype, "T", "of the parameters in memory: bf16 (default), f32"},
        {"frames", CLI_INT, &o.n_frames, "N", "frames a clip (16)"},
        {"size", CLI_STR, &size, "HxW", "of a frame (448x448); LLaVA's frames have their own"},
        {"prompt", CLI_INT, &o.n_prompt, "N", "text tokens of a prompt (64)"},
        {"response", CLI_INT, &o.n_response, "N", "tokens of each response (512)"},
        {"batch", CLI_INT, &o.n_pairs, "N", "pairs computed together (1)"},
        {"lora-rank", CLI_INT, &o.lora_rank, "N", "64"},
        {"gradient-checkpointing", CLI_INT, &o.gradient_checkpointing, "0|1",
         "recompute layers in the backward pass (0, as train does)"},
        {"json", CLI_FLAG, &json, NULL, "one line of JSON, bytes"},
        {0},
    };
    if ((rc = cli_parse("model", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest != 2 || strcmp(argv[1], "info"))
        return cli_usage("model", "write: leanpo model info DIR, or leanpo model merge --help");
    if (size && sscanf(size, "%dx%d", &o.height, &o.width) != 2)
        return cli_usage("model", "--size %s: write HEIGHTxWIDTH", size);
    lpo_error err;
    lpo_model_info info;
    lpo_model_memory memory;
    if (lpo_model_peek(&info, argv[2], &err) || lpo_model_get_memory(&memory, argv[2], &o, &err))
        return cli_fail("model", &err);
    if (json) return print_json(&info, &memory, &o);
    print_text(&info, &memory, &o);
    return CLI_OK;
}
