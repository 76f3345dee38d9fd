/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.h -- what tokenizer.json becomes in memory. The loader (load.c) fills it, encode and decode only
 * read it. Encoding: raw added tokens -> normalizer -> normalized added tokens -> splits -> bytes -> merges.
 * A second kind of model (LLaMA's byte-fallback BPE) would be a second value of `kind`, with its own way from
 * a word to symbols. */
#ifndef LPO_TEXT_TOKENIZER_H
#define LPO_TEXT_TOKENIZER_H
#include "leanpo/text.h"
#include "text/added.h"
#include "text/map.h"
#include "text/split.h"
#include "text/vocab.h"

enum { LPO_MAX_SPLITS = 8 };
enum { LPO_BYTE_CHARS = 256 + 68 }; /* the byte alphabet's characters end at U+0143 */

typedef enum lpo_tokenizer_kind { LPO_TOKENIZER_BYTE_LEVEL_BPE } lpo_tokenizer_kind;

struct lpo_tokenizer {
    lpo_tokenizer_kind kind;
    lpo_vocab vocab;
    lpo_map merges;                 /* see bpe.h */
    lpo_added_set added_raw, added; /* looked for before and after normalizing */
    lpo_split splits[LPO_MAX_SPLITS];
    int n_splits;
    int nfc;                           /* normalize to NFC */
    int prefix_space;                  /* put a space before each text that has none */
    int ignore_merges;                 /* a word that is a token is that token, whatever the merges say */
    int32_t byte_id[256];              /* -1: no token for this byte */
    char byte_text[256][2];            /* the byte's character in UTF-8 */
    uint8_t byte_text_len[256];        /* 1 or 2 */
    int16_t char_byte[LPO_BYTE_CHARS]; /* and back; -1: not of the alphabet */
};

/* Fill the byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on, in
 * order. */
void lpo_tokenizer_alphabet(lpo_tokenizer *t);

/* dst = text in NFC when the tokenizer asks for it, else text itself. *owned is to be freed (NULL when dst is
 * text). */
lpo_status lpo_tokenizer_normalize(const char **dst, size_t *dst_bytes, char **owned, const lpo_tokenizer *t,
                                   const char *text, size_t size_bytes, lpo_error *err);
#endif
