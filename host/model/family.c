/* SPDX-License-Identifier: Apache-2.0 */
/* family.c -- the rows of family.h. Numbers are those of the configuration classes: a re-saved config.json
 * leaves out every field that equals its class default. */
#include "model/family.h"

#include <string.h>

static const lpo_text_defaults texts[] = {
    {"qwen2_vl", 8192, 29568, 80, 64, 8, 152064, 32768, 1e-5, 1e6, true, true},
    {"qwen2_5_vl", 8192, 29568, 80, 64, 8, 152064, 32768, 1e-5, 1e6, true, true},
    {"llama", 4096, 11008, 32, 32, 0, 32000, 2048, 1e-6, 1e4, false, false},
    {"qwen2", 4096, 22016, 32, 32, 32, 151936, 32768, 1e-6, 1e4, true, false},
};

#define SO400M                                                                                               \
    { "siglip_vision_model", 1152, 4304, 26, 16, 14, 384, "gelu_pytorch_tanh", 1e-6, false }

static const lpo_vit_defaults vits[] = {
    {"clip_vision_model", 768, 3072, 12, 12, 32, 224, "quick_gelu", 1e-5, true},
    {"siglip_vision_model", 768, 3072, 12, 12, 16, 224, "gelu_pytorch_tanh", 1e-6, false},
};

#define QWEN_STYLES                                                                                          \
    .n_styles = 2, .prefix = {{"visual.", NULL, NULL, NULL, "model.", ""},                                   \
                              {"model.visual.", NULL, NULL, NULL, "model.language_model.", ""}}
/* llava-hf, with and without the tower's inner name; its modules' own names, likewise; LLaVA-NeXT's code. */
#define HF_LLAVA(root, tower, text, head)                                                                    \
    {                                                                                                        \
        root tower, root "multi_modal_projector.linear_1", root "multi_modal_projector.linear_2",            \
            root "image_newline", text, head                                                                 \
    }
#define LLAVA_STYLES                                                                                         \
    .n_styles = 5,                                                                                           \
    .prefix = {HF_LLAVA("", "vision_tower.vision_model.", "language_model.model.", "language_model."),       \
               HF_LLAVA("", "vision_tower.", "language_model.model.", "language_model."),                    \
               HF_LLAVA("model.", "vision_tower.vision_model.", "model.language_model.", ""),                \
               HF_LLAVA("model.", "vision_tower.", "model.language_model.", ""),                             \
               {"model.vision_tower.vision_tower.vision_model.", "model.mm_projector.0",                     \
                "model.mm_projector.2", "model.image_newline", "model.", ""}}

static const lpo_family families[] = {
    {.name = "qwen2_vl",
     .types = {"qwen2_vl"},
     .tower = LPO_TOWER_QWEN2,
     .architecture = "Qwen2VLForConditionalGeneration",
     .text_type = "qwen2_vl",
     .video_pad_id = 151656,
     QWEN_STYLES},
    {.name = "qwen2_5_vl",
     .types = {"qwen2_5_vl"},
     .tower = LPO_TOWER_QWEN2_5,
     .architecture = "Qwen2_5_VLForConditionalGeneration",
     .text_type = "qwen2_5_vl",
     .video_pad_id = 151656,
     QWEN_STYLES},
    {.name = "llava_next_video",
     .types = {"llava_next_video"},
     .tower = LPO_TOWER_VIT,
     .architecture = "LlavaNextVideoForConditionalGeneration",
     .text_type = "llama",
     .vit_type = "clip_vision_model",
     .whole_vit = {"clip_vision_model", 1024, 4096, 24, 16, 14, 336, "quick_gelu", 1e-5, true},
     .feature_layer = -2,
     .pool_first = true,
     .video_pad_id = 32000,
     LLAVA_STYLES},
    {.name = "llava_video",
     .types = {"llava_qwen", "llava_onevision"},
     .tower = LPO_TOWER_VIT,
     .architecture = "LlavaQwenForCausalLM",
     .text_type = "qwen2",
     .vit_type = "siglip_vision_model",
     .whole_vit = SO400M,
     .feature_layer = -1,
     .video_pad_id = 151647,
     .init_style = 4,
     LLAVA_STYLES},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

const lpo_family *lpo_family_of_type(const char *type) {
    for (int i = 0; i < N_FAMILIES; i++)
        for (int k = 0; k < 3 && families[i].types[k]; k++)
            if (!strcmp(families[i].types[k], type)) return &families[i];
    return NULL;
}

const lpo_family *lpo_family_named(const char *name) {
    for (int i = 0; i < N_FAMILIES; i++)
        if (!strcmp(families[i].name, name)) return &families[i];
    return NULL;
}

const char *lpo_family_names(void) {
    return "qwen2_vl, qwen2_5_vl, llava_next_video, llava_video";
}

const lpo_text_defaults *lpo_text_defaults_of(const char *type) {
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(texts[i].type, type)) return &texts[i];
    return NULL;
}

const lpo_vit_defaults *lpo_vit_defaults_of(const char *type) {
    for (size_t i = 0; i < sizeof vits / sizeof *vits; i++)
        if (!strcmp(vits[i].type, type)) return &vits[i];
    return NULL;
}
