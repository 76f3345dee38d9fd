/* SPDX-License-Identifier: Apache-2.0 */
/* text.h -- text to token ids and back, and the chat template around it.
 * Tokenizers are read from a Hugging Face tokenizer.json and give the ids the `tokenizers` library gives, bit
 * for bit. Supported: byte-level BPE (Qwen2, Qwen2.5, GPT-2 and their relatives) and BPE with byte fallback
 * (LLaMA, Vicuna). Chat templates are Jinja
 * programs; the known ones are recognised by the hash of their text and rendered in C, any other is refused
 * unless the caller names one. */
#ifndef LEANPO_TEXT_H
#define LEANPO_TEXT_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

/* Immutable after loading except for a word cache behind a lock: any number of threads may use one tokenizer
 * at once. */
typedef struct lpo_tokenizer lpo_tokenizer;

/* path is a tokenizer.json or the model folder that holds one. On failure *out is NULL. A file beyond 64 MiB,
 * a vocabulary beyond 2^20 ids, an unknown normalizer, pre-tokenizer, model or decoder is refused with its
 * key. */
LPO_API lpo_status lpo_tokenizer_load(lpo_tokenizer **out, const char *path, lpo_error *err);
LPO_API void lpo_tokenizer_destroy(lpo_tokenizer *t); /* NULL accepted */

/* Highest id + 1. Ids below it that no token has are legal to decode: they decode to nothing. */
LPO_API int32_t lpo_tokenizer_size(const lpo_tokenizer *t);
/* Id of the token with exactly this content, as spelt in the file (byte-level spelling for ordinary tokens,
 * "Ġthe"); -1 when absent. */
LPO_API int32_t lpo_tokenizer_id(const lpo_tokenizer *t, const char *token);

/* A growing list of ids, owned by the caller: zero-initialise, fill, clear. */
typedef struct lpo_ids {
    int32_t *ids;
    size_t n, cap;
} lpo_ids;
LPO_API lpo_status lpo_ids_push(lpo_ids *list, int32_t id, lpo_error *err);
LPO_API void lpo_ids_clear(lpo_ids *list); /* frees; the list is empty and usable again */

/* Appends the ids of size_bytes of UTF-8 to out; on failure out keeps what it had before. Added tokens inside
 * the text
 * ("<|im_end|>") become their ids, as in the reference library: escape them first where text is not trusted.
 * Invalid UTF-8 is refused with its byte offset (replacing it would train on characters nobody wrote). NUL is
 * a character. */
LPO_API lpo_status lpo_tokenizer_encode(lpo_ids *out, lpo_tokenizer *t, const char *text, size_t size_bytes,
                                        lpo_error *err);

/* What the tokenizer's post-processor puts in front of a text (LLaMA's <s>): encode does not, prompts do. The
 * ids live as long as t. */
LPO_API const int32_t *lpo_tokenizer_lead(const lpo_tokenizer *t, size_t *n);

/* *out is malloc'd and NUL-terminated, *n its length without the NUL. Bytes that are not UTF-8 (a character
 * cut by the end of the ids) become U+FFFD. An id outside 0..size-1 is LPO_EINVAL. skip_special leaves out
 * special added tokens. */
LPO_API lpo_status lpo_tokenizer_decode(char **out, size_t *n, lpo_tokenizer *t, const int32_t *ids,
                                        size_t n_ids, int skip_special, lpo_error *err);

typedef struct lpo_message {
    const char *role, *content; /* UTF-8; content may be NULL for "" */
    int n_videos;               /* videos placed before the text */
} lpo_message;

/* A known chat template; immutable, shared by threads. */
typedef struct lpo_chat lpo_chat;

/* Looks in model_dir for chat_template.jinja, chat_template.json, then tokenizer_config.json's
 * "chat_template"; none of them: what the model_type of config.json is known by. An unknown template is
 * LPO_EUNSUPPORTED. override_name
 * (one of lpo_chat_name's, or NULL) is used without looking; model_dir may then be NULL. */
LPO_API lpo_status lpo_chat_open(lpo_chat **out, const char *model_dir, const char *override_name,
                                 lpo_error *err);
LPO_API void lpo_chat_close(lpo_chat *c); /* NULL accepted */
/* "chatml", "vicuna", "llava_qwen", "llava_onevision". */
LPO_API const char *lpo_chat_name(const lpo_chat *c);
/* The text that stands for one clip, once a clip, and the token that ends an answer. */
LPO_API const char *lpo_chat_video(const lpo_chat *c);
LPO_API const char *lpo_chat_end(const lpo_chat *c);

/* *out is malloc'd. chatml: each video is <|vision_start|><|video_pad|><|vision_end|> once (the caller
 * repeats the pad's id), a default system message is put first when the first message is not one, and the
 * generation prompt is
 * "<|im_start|>assistant\n". vicuna: "USER: <video>\nquestion ASSISTANT: answer ", a system message plain in
 * front, no default one, and the generation prompt is "ASSISTANT:". llava_qwen: as chatml, a video is
 * "<image>\n". llava_onevision: "<|im_start|>user <video>\nquestion<|im_end|><|im_start|>assistant\n".
 * Contents are taken as they are: text that spells a special token becomes it. */
LPO_API lpo_status lpo_chat_render(char **out, const lpo_chat *c, const lpo_message *m, int n,
                                   int add_generation_prompt, lpo_error *err);
#endif
