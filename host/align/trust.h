/* SPDX-License-Identifier: Apache-2.0 */
/* trust.h -- how far an answer can be trusted against the ground truth, from the words alone.
 * Words are maximal runs of letters, digits and bytes above 127, lower-cased (ASCII). Content words are those
 * that are not among the English function words of trust.c: all phrasings of one fact share them, so
 * content-word F1 is the default trust score (method.md 1.4) and plain token F1 stands beside it. */
#ifndef LPO_ALIGN_TRUST_H
#define LPO_ALIGN_TRUST_H
#include <stdbool.h>

/* F1 of the two multisets of words, in [0,1]; two empty ones agree (1). */
double lpo_trust_token_f1(const char *answer, const char *truth);
double lpo_trust_content_f1(const char *answer, const char *truth);
/* chrF (Popovic 2015): F2 of the shares of common character n-grams, n from 1 to 6, averaged over the n that
 * both texts have; white space does not count, nor does ASCII case. Compares the first 4096 characters. */
double lpo_trust_chrf(const char *answer, const char *truth);
/* Equal after lower-casing and dropping all but words. */
bool lpo_trust_exact(const char *answer, const char *truth);
/* The same content words, as often, in any order. */
bool lpo_trust_content_equal(const char *answer, const char *truth);

typedef double lpo_trust_fn(const char *answer, const char *truth);
/* By name: "content_f1", "token_f1", "chrf", "exact"; NULL for any other. */
lpo_trust_fn *lpo_trust_by_name(const char *name);
#endif
