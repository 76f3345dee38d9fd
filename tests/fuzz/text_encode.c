/* SPDX-License-Identifier: Apache-2.0 */
/* text_encode.c -- any bytes as text: invalid UTF-8 is refused, everything else comes back byte for byte from
 * its ids (the tokenizer has no normalizer, and its added tokens swallow nothing). */
#include "leanpo/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The whole byte alphabet, a few merges, two added tokens, the Qwen2 split. */
static lpo_tokenizer *make(void) {
    int fd = memfd_create("tokenizer.json", 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) abort();
    fprintf(
        f,
        "{\"added_tokens\":[{\"id\":260,\"content\":\"<|a|>\",\"special\":true},"
        "{\"id\":261,\"content\":\"\xc3\xa9t\",\"normalized\":true,\"single_word\":true}],\"pre_tokenizer\":{"
        "\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|"
        "'ve|'m|'ll|'d)"
        "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+"
        "|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
        "false,"
        "\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":"
        "{");
    unsigned spare = 256;
    for (unsigned b = 0; b < 256; b++) {
        unsigned plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        fprintf(f, "\"\\u%04x\":%u,", plain ? b : spare++, b);
    }
    fprintf(
        f, "\"th\":256,\"the\":257,\"aa\":258,\"aaa\":259},\"merges\":[\"t h\",\"th e\",\"a a\",\"aa a\"]}}");
    fflush(f);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lpo_tokenizer *t;
    lpo_error err;
    if (lpo_tokenizer_load(&t, path, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    fclose(f);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lpo_tokenizer *t;
    if (!t) t = make();
    lpo_ids ids = {0};
    char *back = NULL;
    size_t n;
    lpo_error err;
    lpo_status s = lpo_tokenizer_encode(&ids, t, (const char *)data, size, &err);
    if (s != LPO_OK && s != LPO_EINVAL) abort();
    if (s == LPO_OK) {
        /* The second added token is spelt with a byte-alphabet character, so decoding turns it into that
         * byte. */
        int odd = 0;
        for (size_t i = 0; i < ids.n; i++) odd |= ids.ids[i] == 261;
        if (lpo_tokenizer_decode(&back, &n, t, ids.ids, ids.n, 0, &err)) abort();
        if (!odd && (n != size || memcmp(back, data, n) != 0)) abort();
    }
    free(back);
    lpo_ids_clear(&ids);
    return 0;
}
