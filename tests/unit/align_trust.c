/* SPDX-License-Identifier: Apache-2.0 */
/* align_trust.c -- trust scores of answers against the truth. */
#include "align/trust.h"

#include <criterion/criterion.h>

/* Truth: phrasings of one fact share their content words, so they score 1 against each other; plain token F1
 * does not see that. */
Test(trust, phrasings_agree_in_content) {
    cr_expect_eq(
        lpo_trust_content_f1("The red bar moves to the left.", "the direction of the red bar is left"), 1.0);
    cr_expect(lpo_trust_content_equal("there is one shape in the video", "one shape is in the video"));
    cr_expect_lt(lpo_trust_token_f1("The red bar moves to the left.", "the direction of the red bar is left"),
                 .7);
}

/* Truth: F1 is 2 * shared / (words + words), as multisets; case and punctuation do not count. */
Test(trust, f1_by_hand) {
    cr_expect_float_eq(lpo_trust_content_f1("red circle", "blue circle"), .5, 1e-12);
    cr_expect_float_eq(lpo_trust_content_f1("red red", "red"), 2.0 / 3, 1e-12);
    cr_expect_float_eq(lpo_trust_token_f1("A red, circle!", "a RED bar"), 2.0 / 3, 1e-12);
    cr_expect_eq(lpo_trust_content_f1("", "red"), 0.0);
    cr_expect_eq(lpo_trust_content_f1("", ""), 1.0);
}

/* Truth: a missing or an added content word makes an answer wrong; exact match asks for the same words in the
 * same order. */
Test(trust, equality) {
    cr_expect(!lpo_trust_content_equal("a red bar moves left and a blue pole", "a red bar moves left"));
    cr_expect(!lpo_trust_content_equal("it is red", "it is blue"));
    cr_expect(lpo_trust_exact("It is RED.", "it is red"));
    cr_expect(!lpo_trust_exact("red it is", "it is red"));
}

/* Truth: chrF by its definition, worked out apart in Python (F2 of the mean precision and recall of character
 * 1- to 6-grams without white space, lower-cased). A character is a code point: one accent is one difference.
 */
Test(trust, chrf_known_values) {
    cr_expect_float_eq(lpo_trust_chrf("the cat sat", "the cat is sat"), 0.5062134456514557, 1e-12);
    cr_expect_float_eq(lpo_trust_chrf("red", "blue"), 0.08771929824561403, 1e-12);
    cr_expect_float_eq(lpo_trust_chrf("A red bar moves left", "a red bar moves to the left"),
                       0.6264965407820748, 1e-12);
    cr_expect_float_eq(lpo_trust_chrf("café", "cafe"), 0.4791666666666667, 1e-12);
    cr_expect_float_eq(lpo_trust_chrf("aab", "aba"), 0.5, 1e-12);
    cr_expect_eq(lpo_trust_chrf("", ""), 1.0);
    cr_expect_eq(lpo_trust_chrf("", "red"), 0.0);
    cr_expect_eq(lpo_trust_chrf("Red Bar", "redbar"), 1.0);
}

/* Truth: scores have names, and no others. */
Test(trust, names) {
    cr_expect(lpo_trust_by_name("chrf") == lpo_trust_chrf);
    cr_expect(lpo_trust_by_name("content_f1") == lpo_trust_content_f1);
    cr_expect_eq(lpo_trust_by_name("exact")("It is red", "it is red."), 1.0);
    cr_expect(lpo_trust_by_name("bleu") == NULL);
}
