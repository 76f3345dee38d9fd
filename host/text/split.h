/* SPDX-License-Identifier: Apache-2.0 */
/* split.h -- cutting text into words with a regular expression, the `Split` pre-tokenizer with behaviour
 * "Isolated": matches and what lies between them are pieces of their own. */
#ifndef LPO_TEXT_SPLIT_H
#define LPO_TEXT_SPLIT_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include "leanpo/status.h"

#include <pcre2.h>
#include <stddef.h>

/* A compiled pattern; immutable, shared by threads. */
typedef struct lpo_split {
    pcre2_code *code;
} lpo_split;

/* pattern is in Oniguruma's (Ruby) syntax, as tokenizer.json has it; a construct that could mean something
 * else in PCRE2 is refused. literal: the pattern is a plain string. `where` names it in errors. */
lpo_status lpo_split_compile(lpo_split *s, const char *pattern, size_t size_bytes, int literal,
                             const char *where, lpo_error *err);
void lpo_split_free(lpo_split *s);

/* Working memory of one thread: create with lpo_split_match_create, free with pcre2_match_data_free etc. */
typedef struct lpo_split_match {
    pcre2_match_data *data;
    pcre2_match_context *context;
} lpo_split_match;
int lpo_split_match_init(lpo_split_match *m); /* 0 or -1 when out of memory */
void lpo_split_match_free(lpo_split_match *m);

/* Walks the pieces of text: zero-initialise but for text and size_bytes. */
typedef struct lpo_split_iter {
    const char *text; /* valid UTF-8 */
    size_t size_bytes;
    size_t prev, search, match_start, match_end;
    int have_match, matched_before, done;
} lpo_split_iter;

/* The next non-empty piece; LPO_EEND after the last. LPO_ELIMIT: the pattern backtracked beyond reason. */
lpo_status lpo_split_next(const char **piece, size_t *piece_bytes, lpo_split_iter *it, const lpo_split *s,
                          lpo_split_match *m, lpo_error *err);
#endif
