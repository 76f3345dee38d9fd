/* SPDX-License-Identifier: Apache-2.0 */
/* text_chat.c -- rendered chats are those of the models' own Jinja templates (the expected strings were
 * rendered by Jinja 3.1), and a template nobody has checked is refused. */
#include "base/file.h"
#include "leanpo/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void renders(const char *name, const lpo_message *m, int n, int prompt, const char *want) {
    lpo_chat *c;
    char *out;
    lpo_error err = {0};
    cr_assert(lpo_chat_open(&c, NULL, name, &err) == LPO_OK, "%s", err.msg);
    cr_assert(lpo_chat_render(&out, c, m, n, prompt, &err) == LPO_OK, "%s", err.msg);
    cr_assert_str_eq(out, want);
    free(out);
    lpo_chat_close(c);
}

/* Qwen2-VL's template: a default system message, the video before its text, the prompt for the next answer.
 */
Test(chat, chatml_is_qwen2_vl) {
    const lpo_message talk[] = {{"user", "What happens?", 1}, {"assistant", "A cat sits.", 0}};
    renders("chatml", talk, 2, 1,
            "<|im_start|>system\nYou are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|video_pad|>"
            "<|vision_end|>What happens?<|im_end|>\n<|im_start|>assistant\nA cat "
            "sits.<|im_end|>\n<|im_start|>assistant\n");
    const lpo_message own[] = {{"system", "Be brief.", 0}, {"user", "Hi", 0}};
    renders("chatml", own, 2, 0, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
    renders("chatml", NULL, 0, 1, "<|im_start|>assistant\n");
}

/* The LLaVA form of Vicuna: roles in capitals, a space after every text, no default system message. */
Test(chat, vicuna_is_llava) {
    const lpo_message talk[] = {{"user", "What happens?", 1}, {"assistant", "A cat sits.", 0}};
    renders("vicuna", talk, 2, 1, "USER: <video>\nWhat happens? ASSISTANT: A cat sits. ASSISTANT:");
    lpo_chat *c;
    char *out;
    lpo_error err;
    const lpo_message odd = {"tool", "x", 0};
    cr_assert(lpo_chat_open(&c, NULL, "vicuna", &err) == LPO_OK);
    cr_assert(lpo_chat_render(&out, c, &odd, 1, 0, &err) == LPO_EINVAL);
    cr_assert(strstr(err.msg, "\"tool\"") != NULL, "%s", err.msg);
}

static char dir[64];

static void make_dir(void) {
    strcpy(dir, "/tmp/leanpo-chat-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
}

static void remove_dir(void) {
    lpo_dir_remove(dir, NULL);
}

static void put_file(const char *name, const char *text) {
    char path[128];
    lpo_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert(lpo_file_write(path, text, strlen(text), &err) == LPO_OK, "%s", err.msg);
}

/* The error of opening dir, "" for success. */
static const char *open_error(lpo_status want, const char *override_name) {
    static lpo_error err;
    lpo_chat *c;
    memset(&err, 0, sizeof err);
    cr_assert(lpo_chat_open(&c, dir, override_name, &err) == want, "%s", err.msg);
    cr_assert((c != NULL) == (want == LPO_OK));
    lpo_chat_close(c);
    return err.msg;
}

/* An unknown template may render anything: it is refused with its file and the option that overrides it. */
Test(chat, unknown_template_is_refused, .init = make_dir, .fini = remove_dir) {
    put_file("config.json", "{\"model_type\":\"qwen2_vl\"}");
    put_file("chat_template.json", "{\"chat_template\":\"{{ messages[0] }}\"}");
    const char *msg = open_error(LPO_EUNSUPPORTED, NULL);
    cr_assert(strstr(msg, "chat_template.json") && strstr(msg, "--chat-template"), "%s", msg);
    open_error(LPO_OK, "vicuna");
    cr_assert(strstr(open_error(LPO_EINVAL, "alpaca"), "chatml") != NULL);
}

/* Of several files chat_template.jinja counts, then chat_template.json, then tokenizer_config.json; a list of
 * named templates means its "default". */
Test(chat, order_of_files, .init = make_dir, .fini = remove_dir) {
    put_file("config.json", "{\"model_type\":\"qwen2_5_vl\"}");
    open_error(LPO_OK, NULL);
    put_file("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tools\",\"template\":\"t\"},"
                                      "{\"name\":\"default\",\"template\":\"d\"}]}");
    const char *msg = open_error(LPO_EUNSUPPORTED, NULL);
    cr_assert(strstr(msg, "tokenizer_config.json") && strstr(msg, "5000d8f2907d14e4"), "%s",
              msg); /* XXH64("d") */
    put_file("chat_template.json", "{\"chat_template\":\"d\"}");
    cr_assert(strstr(open_error(LPO_EUNSUPPORTED, NULL), "chat_template.json") != NULL);
    put_file("chat_template.jinja", "d");
    cr_assert(strstr(open_error(LPO_EUNSUPPORTED, NULL), "chat_template.jinja") != NULL);
}

/* Without any template the model type decides, and only a known one does. */
Test(chat, model_type_decides_last, .init = make_dir, .fini = remove_dir) {
    open_error(LPO_ENOTFOUND, NULL);
    put_file("tokenizer_config.json", "{\"model_max_length\":32768}");
    put_file("config.json", "{\"model_type\":\"idefics\"}");
    cr_assert(strstr(open_error(LPO_EUNSUPPORTED, NULL), "idefics") != NULL);
    static const char *const known[][2] = {{"qwen2", "chatml"},
                                           {"qwen2_5_vl", "chatml"},
                                           {"llava_next_video", "vicuna"},
                                           {"llava_qwen", "llava_qwen"},
                                           {"llava_onevision", "llava_onevision"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char text[64];
        lpo_chat *c;
        lpo_error err = {0};
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", known[i][0]);
        put_file("config.json", text);
        cr_assert(lpo_chat_open(&c, dir, NULL, &err) == LPO_OK, "%s", err.msg);
        cr_assert_str_eq(lpo_chat_name(c), known[i][1]);
        lpo_chat_close(c);
    }
}

/* The template of a real Qwen2-VL folder is known by its hash. The text is not ours to ship: LEANPO_MODEL_DIR
 * names one. */
Test(chat, real_folder_is_known) {
    const char *model = getenv("LEANPO_MODEL_DIR");
    if (!model) cr_skip("set LEANPO_MODEL_DIR to the folder of a Qwen2-VL model to run this");
    lpo_chat *c;
    lpo_error err = {0};
    cr_assert(lpo_chat_open(&c, model, NULL, &err) == LPO_OK, "%s", err.msg);
    cr_assert_str_eq(lpo_chat_name(c), "chatml");
}
