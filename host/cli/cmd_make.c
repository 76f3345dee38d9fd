/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_make.c -- the commands that make inputs: world, init, prep, tokenize. */
#include "cli.h"
#include "leanpo/model.h"
#include "leanpo/prep.h"
#include "leanpo/text.h"
#include "leanpo/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int cmd_world(int argc, char **argv) {
    lpo_world_options o = lpo_world_options_default();
    const char *out = NULL;
    int n_rest, rc;
    o.progress = cli_progress;
    const cli_option opts[] = {
        {"out", CLI_STR, &out, "DIR", "folder to make: videos/, *.jsonl, tokenizer.json, world.json"},
        {"videos", CLI_INT, &o.n_videos, "N", "how many videos"},
        {"seed", CLI_U64, &o.seed, "S", "same seed, same bytes"},
        {"size", CLI_INT, &o.size_px, "PX", "width and height (default 224)"},
        {"fps", CLI_REAL, &o.fps, "X", "frames a second (default 8)"},
        {"frames", CLI_INT, &o.n_frames, "N", "frames a video (default 8)"},
        {"heldout", CLI_REAL, &o.heldout, "X", "share of the videos held out (default .1)"},
        {"threads", CLI_INT, &o.n_threads, "N", "default: all"},
        {0},
    };
    if ((rc = cli_parse("world", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (!out || n_rest)
        return cli_usage("world", out ? "unexpected argument \"%s\"" : "--out DIR is needed", argv[1]);
    lpo_error err;
    if (lpo_world_write(out, &o, &err)) return cli_fail("world", &err);
    printf("%d videos of %dx%d -> %s (qa.train.jsonl, qa.heldout.jsonl, captions.jsonl, tokenizer.json)\n",
           o.n_videos, o.size_px, o.size_px, out);
    return CLI_OK;
}

int cmd_init(int argc, char **argv) {
    lpo_init_options o = {.family = "qwen2_vl", .size = "tiny"};
    const char *out = NULL;
    int n_rest, rc;
    const cli_option opts[] = {
        {"out", CLI_STR, &out, "DIR", "folder to make"},
        {"family", CLI_STR, &o.family, "F", "qwen2_vl (default), qwen2_5_vl, llava_next_video, llava_video"},
        {"size", CLI_STR, &o.size, "S", "tiny (default), small, 2b, 7b"},
        {"tokenizer", CLI_STR, &o.tokenizer, "F",
         "tokenizer.json to copy; sets the vocabulary of tiny and small"},
        {"config", CLI_STR, &o.config, "JSON",
         "config.json keys that override the size's, e.g. '{\"num_hidden_layers\":4}'"},
        {"dtype", CLI_STR, &o.dtype, "T", "f32 or bf16"},
        {"seed", CLI_U64, &o.seed, "S", "same seed, same bytes"},
        {0},
    };
    if ((rc = cli_parse("init", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (!out && n_rest == 1) {
        out = argv[1];
        n_rest = 0;
    }
    if (!out || n_rest)
        return cli_usage("init", out ? "unexpected argument \"%s\"" : "--out DIR is needed", argv[1]);
    lpo_error err;
    lpo_model_info info;
    if (lpo_model_init(out, &o, &err) || lpo_model_peek(&info, out, &err)) return cli_fail("init", &err);
    printf("%s: %s %s, %lld parameters (%lld of them vision), vocabulary %d\n", out, o.family, o.size,
           (long long)info.n_params, (long long)info.n_vision_params, info.vocab_size);
    return CLI_OK;
}

typedef struct prep_args {
    lpo_prep_options o;
    lpo_augment aug;
    lpo_prep_engine *engine;
    const char *out, *augment, *resize, *color, *size, *model, *family, *place, *sampler;
    lpo_clip_options clips;
    int threads, json;
} prep_args;

/* --flags over the model's (or family's) recipe. */
static int prep_options(prep_args *a) {
    lpo_error err;
    if (lpo_prep_options_load(&a->o, a->model, &err)) return cli_fail("prep", &err);
    if (a->family && !a->model && lpo_prep_options_of(&a->o, a->family, &err))
        return cli_usage("prep", "--family: %s", err.msg);
    if (a->threads > 0) a->o.n_threads = a->threads;
    if (a->resize && strcmp(a->resize, "pillow") && strcmp(a->resize, "torchvision"))
        return cli_usage("prep", "--resize %s: choose pillow or torchvision", a->resize);
    if (a->resize) a->o.resize_pillow = !strcmp(a->resize, "pillow");
    if (a->color && strcmp(a->color, "auto-tag") && strcmp(a->color, "force601"))
        return cli_usage("prep", "--color %s: choose auto-tag or force601", a->color);
    if (a->color) a->o.color_force601 = !strcmp(a->color, "force601");
    if (a->sampler && strcmp(a->sampler, "qwen") && strcmp(a->sampler, "hf"))
        return cli_usage(
            "prep", "--sampler %s: choose qwen (round of linspace) or hf (transformers' truncated arange)",
            a->sampler);
    if (a->sampler) a->o.hf_sampler = !strcmp(a->sampler, "hf");
    if (a->place && !strncmp(a->place, "preprocess=", 11)) a->place += 11;
    if (a->place && strcmp(a->place, "cpu") && strcmp(a->place, "auto") && strcmp(a->place, "csim") &&
        strncmp(a->place, "fpga", 4) && strncmp(a->place, "opencl", 6) && strncmp(a->place, "cuda", 4))
        return cli_usage("prep",
                         "--place %s: preprocessing runs on cpu, csim, fpga, opencl or cuda (:INDEX for one "
                         "of several)",
                         a->place);
    if (a->size && (sscanf(a->size, "%dx%d", &a->o.target_h, &a->o.target_w) != 2 || a->o.target_h < 1 ||
                    a->o.target_w < 1))
        return cli_usage("prep", "--size %s: write HEIGHTxWIDTH", a->size);
    if (lpo_prep_options_ask(&a->o, &a->clips, &err)) return cli_usage("prep", "%s", err.msg);
    if (a->augment && lpo_augment_parse(&a->aug, a->augment, &err)) return cli_fail("prep", &err);
    if (a->place && strcmp(a->place, "cpu") && strcmp(a->place, "auto")) {
        if (lpo_prep_engine_open(&a->engine, a->place, NULL, &err)) return cli_fail("prep", &err);
        a->o.engine = a->engine;
    }
    return CLI_OK;
}

/* --out for one video; DIR/NAME.safetensors when there are several. */
static void out_path(char *path, size_t size, const char *out, const char *video, bool several) {
    const char *name = strrchr(video, '/') ? strrchr(video, '/') + 1 : video;
    const char *dot = strrchr(name, '.');
    if (several)
        snprintf(path, size, "%s/%.*s.safetensors", out, (int)(dot ? (size_t)(dot - name) : strlen(name)),
                 name);
    else
        snprintf(path, size, "%s", out);
}

static int prep_one(const prep_args *a, const char *video, bool several) {
    lpo_error err;
    lpo_clip clip;
    if (lpo_prep_video(&clip, video, &a->o, a->augment ? &a->aug : NULL, &err)) return cli_fail("prep", &err);
    char path[4096] = "";
    int rc = CLI_OK;
    if (a->out) {
        out_path(path, sizeof path, a->out, video, several);
        if (lpo_prep_save(path, &clip, &a->o, &err)) rc = cli_fail("prep", &err);
    }
    if (!rc && a->json)
        rc = cli_print_json(json_pack("{ss si si si s[iii] sf ss}", "video", video, "n_frames", clip.n_frames,
                                      "height", clip.height, "width", clip.width, "grid_thw", clip.grid_t,
                                      clip.grid_h, clip.grid_w, "second_per_grid", clip.second_per_grid,
                                      "out", path));
    else if (!rc)
        printf("%s: %d frames of %dx%d (h x w), grid %dx%dx%d%s%s\n", video, clip.n_frames, clip.height,
               clip.width, clip.grid_t, clip.grid_h, clip.grid_w, path[0] ? " -> " : "", path);
    lpo_clip_clear(&clip);
    return rc;
}

int cmd_prep(int argc, char **argv) {
    prep_args a = {0};
    int n_rest, rc;
    const cli_option opts[] = {
        {"out", CLI_STR, &a.out, "F",
         "F.safetensors (a folder when several videos are given): frames_u8, patches"},
        {"family", CLI_STR, &a.family, "F", "qwen2_vl (default), qwen2_5_vl, llava_next_video, llava_video"},
        {"model", CLI_STR, &a.model, "DIR", "take the recipe from this folder's preprocessor_config.json"},
        CLI_CLIP_OPTIONS(a.clips),
        {"sampler", CLI_STR, &a.sampler, "S", "qwen (default) or hf"},
        {"resize", CLI_STR, &a.resize, "MODE", "pillow (default) or torchvision: both bit-exact"},
        {"size", CLI_STR, &a.size, "HxW", "resize to this instead of smart_resize"},
        {"color", CLI_STR, &a.color, "C", "auto-tag (default) or force601"},
        {"augment", CLI_STR, &a.augment, "SPEC",
         "crop=.5...8,flip,grey,blur=1.5,noise=8,drop=.25,shuffle,reverse,seed=3"},
        {"place", CLI_STR, &a.place, "D",
         "device of the preprocessing: cpu (default), csim, fpga, opencl, cuda, cuda:N"},
        {"threads", CLI_INT, &a.threads, "N", "default: all"},
        {"json", CLI_FLAG, &a.json, NULL, "one JSON object a video"},
        {0},
    };
    if ((rc = cli_parse("prep", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (!n_rest) return cli_usage("prep", "no video given");
    if ((rc = prep_options(&a))) return rc;
    if (a.out && n_rest > 1) mkdir(a.out, 0777);
    for (int i = 1; i <= n_rest && !cli_interrupted(NULL); i++) {
        int one = prep_one(&a, argv[i], n_rest > 1);
        if (one) rc = one;
        cli_progress(NULL, "preprocessing", i, n_rest);
    }
    lpo_prep_engine_close(a.engine);
    return rc ? rc : cli_interrupted(NULL) ? CLI_INTERRUPTED : CLI_OK;
}

/* The whole of a text file or of stdin ("-"), at most 256 MiB. */
static char *read_text(const char *path, size_t *n) {
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    char *text = NULL;
    size_t cap = 0, got;
    *n = 0;
    while (f && *n < (size_t)256 << 20) {
        if (*n + 65536 > cap) {
            char *p = realloc(text, cap = cap ? 2 * cap : 1 << 17);
            if (!p) break;
            text = p;
        }
        if (!(got = fread(text + *n, 1, 65536, f))) break;
        *n += got;
    }
    bool ok = f && !ferror(f) && feof(f);
    if (f && f != stdin) fclose(f);
    if (!ok) {
        free(text);
        return NULL;
    }
    return text;
}

static int tokenize(lpo_tokenizer *t, const char *model, const char *chat_name, int chat, const char *text,
                    size_t n, lpo_error *err) {
    char *rendered = NULL;
    if (chat) {
        lpo_chat *c;
        lpo_message m = {"user", text, 0};
        if (lpo_chat_open(&c, model, chat_name, err)) return CLI_FAILED;
        lpo_status s = lpo_chat_render(&rendered, c, &m, 1, 1, err);
        lpo_chat_close(c);
        if (s) return CLI_FAILED;
        text = rendered;
        n = strlen(rendered);
    }
    lpo_ids ids = {0};
    size_t n_lead = 0;
    const int32_t *lead = lpo_tokenizer_lead(t, &n_lead);
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < n_lead && chat && !s; i++) s = lpo_ids_push(&ids, lead[i], err);
    if (!s) s = lpo_tokenizer_encode(&ids, t, text, n, err);
    free(rendered);
    if (s) return CLI_FAILED;
    json_t *a = json_array();
    for (size_t i = 0; i < ids.n; i++) json_array_append_new(a, json_integer(ids.ids[i]));
    lpo_ids_clear(&ids);
    return cli_print_json(json_pack("{so}", "ids", a)) ? CLI_USAGE : CLI_OK;
}

int cmd_tokenize(int argc, char **argv) {
    const char *model = NULL, *file = NULL, *chat_name = NULL;
    int chat = 0, n_rest, rc;
    const cli_option opts[] = {
        {"model", CLI_STR, &model, "DIR", "model folder or tokenizer.json"},
        {"file", CLI_STR, &file, "F", "text file, - for standard input (default: the argument)"},
        {"chat", CLI_FLAG, &chat, NULL, "render as one user message first, with the generation prompt"},
        {"chat-template", CLI_STR, &chat_name, "NAME", "chatml, vicuna, llava_qwen, llava_onevision"},
        {0},
    };
    if ((rc = cli_parse("tokenize", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (!model) return cli_usage("tokenize", "--model DIR is needed");
    if ((n_rest != 1) == !file) return cli_usage("tokenize", "give either a TEXT or --file F");
    size_t n = 0;
    char *own = file ? read_text(file, &n) : NULL;
    if (file && !own) {
        lpo_error e = {LPO_EIO, ""};
        snprintf(e.msg, sizeof e.msg, "%s: cannot read it (or it is over 256 MiB)", file);
        return cli_fail("tokenize", &e);
    }
    if (own) own[n] = 0;
    lpo_error err;
    lpo_tokenizer *t;
    rc = lpo_tokenizer_load(&t, model, &err)
             ? CLI_FAILED
             : tokenize(t, model, chat_name, chat, own ? own : argv[1], own ? n : strlen(argv[1]), &err);
    if (rc == CLI_FAILED) cli_fail("tokenize", &err);
    lpo_tokenizer_destroy(t);
    free(own);
    return rc ? CLI_FAILED : CLI_OK;
}
