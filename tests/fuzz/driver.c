/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c -- runs a libFuzzer entry point without libFuzzer: every file of the folder argv[1], and 2000
 * seeded mutations of each. A missing or empty folder means random inputs only. The same inputs on every run;
 * under the sanitizers a crash is a failing test. With clang, -fsanitize=fuzzer takes this file's place. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS = 2000, MAX_SIZE = 1 << 20 };

static uint64_t state = 0x4c65616e504f;

static uint64_t next(void) { /* splitmix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static size_t below(size_t n) {
    return n ? (size_t)(next() % n) : 0;
}

/* A few edits in place; buf has room for twice the input and 64 bytes. Returns the new size. */
static size_t mutate(uint8_t *buf, size_t size) {
    for (size_t edits = 1 + below(6); edits > 0; edits--) {
        size_t at = below(size), len = 1 + below(16);
        switch (below(6)) {
        case 0: /* flip a bit */
            if (size) buf[at] ^= (uint8_t)(1u << below(8));
            break;
        case 1: /* a byte that parsers care about */
            if (size) buf[at] = (uint8_t) "\0\xff\x7f\x80\"\\{}[]:,0-9 \n"[below(18)];
            break;
        case 2: /* cut the end */ size = at; break;
        case 3: /* delete a piece */
            if (len > size - at) len = size - at;
            memmove(buf + at, buf + at + len, size - at - len);
            size -= len;
            break;
        case 4: /* repeat a piece */
            if (len > size - at || size + len > MAX_SIZE) break;
            memmove(buf + at + len, buf + at, size - at);
            size += len;
            break;
        default: /* random bytes */
            for (size_t i = at; i < size && i < at + len; i++) buf[i] = (uint8_t)next();
        }
    }
    return size;
}

static void run_mutations(const uint8_t *data, size_t size) {
    uint8_t *buf = malloc(size + 256);
    if (!buf) exit(1);
    for (int i = 0; i < MUTATIONS; i++) {
        memcpy(buf, data, size);
        size_t n = mutate(buf, size);
        /* An exact allocation: one byte past the end is the sanitizer's. */
        uint8_t *exact = malloc(n ? n : 1);
        if (!exact) exit(1);
        memcpy(exact, buf, n);
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    free(buf);
}

static void run_random(void) {
    uint8_t data[512];
    for (int i = 0; i < MUTATIONS; i++) {
        size_t n = below(sizeof data);
        for (size_t k = 0; k < n; k++) data[k] = (uint8_t)next();
        LLVMFuzzerTestOneInput(data, n);
    }
}

static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MAX_SIZE);
    if (!f || !data) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        if (f) fclose(f);
        return 1;
    }
    size_t n = fread(data, 1, MAX_SIZE, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    run_mutations(data, n);
    free(data);
    return 0;
}

int main(int argc, char **argv) {
    struct dirent **list = NULL;
    /* Sorted: the mutations of a file depend on what ran before it. */
    int n = argc > 1 ? scandir(argv[1], &list, NULL, alphasort) : 0, failed = 0, ran = 0;
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], list[i]->d_name);
        if (list[i]->d_name[0] != '.') {
            failed |= run_file(path);
            ran++;
        }
        free(list[i]);
    }
    free(list);
    run_random();
    printf("%d files, %d mutations of each, %d random inputs\n", ran, MUTATIONS, MUTATIONS);
    return failed;
}
