/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.h -- what tokenizer.json becomes in memory. The loader (load.c) fills it, encode and decode only
 * read it. Encoding: raw added tokens -> normalizer -> normalized added tokens -> splits -> bytes -> merges.
 * The second kind of model, LLaMA's, starts from characters instead: those without a token fall back to
 * tokens of their bytes ("<0x0A>"), and spaces are written U+2581 (fallback.c). */
#ifndef LPO_TEXT_TOKENIZER_H
#define LPO_TEXT_TOKENIZER_H
#include "leanpo/text.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/map.h"
#include "text/split.h"
#include "text/vocab.h"

enum { LPO_MAX_SPLITS = 8 };
enum { LPO_BYTE_CHARS = 256 + 68 }; /* the byte alphabet's characters end at U+0143 */

typedef enum lpo_tokenizer_kind {
    LPO_TOKENIZER_BYTE_LEVEL_BPE,
    LPO_TOKENIZER_BYTE_FALLBACK_BPE
} lpo_tokenizer_kind;

/* When the Metaspace pre-tokenizer puts a U+2581 in front of a piece. */
typedef enum lpo_meta { LPO_META_NONE, LPO_META_NEVER, LPO_META_FIRST, LPO_META_ALWAYS } lpo_meta;

enum { LPO_MAX_LEAD = 8, LPO_MAX_SHORT = 16 };

struct lpo_tokenizer {
    lpo_tokenizer_kind kind;
    lpo_vocab vocab;
    lpo_map merges;                 /* see bpe.h */
    lpo_added_set added_raw, added; /* looked for before and after normalizing */
    lpo_split splits[LPO_MAX_SPLITS];
    int n_splits;
    int nfc;                    /* normalize to NFC */
    int prefix_space;           /* put a space before each text that has none */
    int ignore_merges;          /* a word that is a token is that token, whatever the merges say */
    int32_t byte_id[256];       /* -1: no token for this byte */
    int32_t lead[LPO_MAX_LEAD]; /* ids the post-processor puts in front */
    int n_lead;
    /* Byte fallback: the normalizer's Prepend and Replace ("": none), Metaspace, and the decoder's Strip. */
    char prepend[LPO_MAX_SHORT], replace_from[LPO_MAX_SHORT], replace_to[LPO_MAX_SHORT];
    lpo_meta meta;
    int meta_split, strip_space, byte_fallback, fuse_unk;
    int32_t unk_id;                    /* -1: characters without a token vanish */
    char byte_text[256][2];            /* the byte's character in UTF-8 */
    uint8_t byte_text_len[256];        /* 1 or 2 */
    int16_t char_byte[LPO_BYTE_CHARS]; /* and back; -1: not of the alphabet */
};

/* Fill the byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on, in
 * order. */
void lpo_tokenizer_alphabet(lpo_tokenizer *t);

/* Byte fallback (fallback.c). The symbols of a word into s (room for size_bytes of them); returns how many.
 */
size_t lpo_fallback_symbols(lpo_bpe_scratch *s, const lpo_tokenizer *t, const char *word, size_t size_bytes);
/* text as Metaspace has it, in *out (malloc'd); first: it begins the whole text. -1 when out of memory. */
int lpo_fallback_metaspace(char **out, size_t *n, const lpo_tokenizer *t, const char *text, size_t size_bytes,
                           int first);
/* text after Prepend and Replace, malloc'd; NULL when out of memory. */
char *lpo_fallback_normalize(size_t *n, const lpo_tokenizer *t, const char *text, size_t size_bytes);
/* ids to UTF-8, malloc'd and NUL-terminated; NULL when out of memory. Ids are in range. */
char *lpo_fallback_decode(size_t *n, const lpo_tokenizer *t, const int32_t *ids, size_t n_ids,
                          int skip_special);

/* dst = text normalized as the tokenizer asks, else text itself. *owned is to be freed (NULL when dst is
 * text). */
lpo_status lpo_tokenizer_normalize(const char **dst, size_t *dst_bytes, char **owned, const lpo_tokenizer *t,
                                   const char *text, size_t size_bytes, lpo_error *err);
#endif
