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
