/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: what stands in place of a heap, recursion, a goto, a pointer to a function or to a pointer, a
 * cast */
#include <stdint.h>

typedef struct pixel {
    uint8_t r, g, b;
} pixel;

enum { LARGEST = 64, TWICE = 0, SQUARE = 1 };

typedef union word {
    float value;
    uint32_t bits;
} word;

static int apply(int op, int x) {
    switch (op) {
    case TWICE: return 2 * x;
    case SQUARE: return x * x;
    default: return x;
    }
}

static void grey(uint8_t out[LARGEST], const pixel in[LARGEST]) {
    for (int i = 0; i < LARGEST; i++) out[i] = (uint8_t)((in[i].r + 2 * in[i].g + in[i].b) >> 2);
}

void kernel(const uint8_t *in, const uint8_t *bytes, uint32_t *out, int op, int n) {
    pixel line[LARGEST];
    uint8_t result[LARGEST];
    const uint32_t *words = (const uint32_t *)bytes;
    const uint8_t *next = in + 3;
    word w;
    w.value = 1.5f;
    for (int i = 0; i < LARGEST; i++) {
        line[i].r = in[3 * i];
        line[i].g = next[3 * i - 2];
        line[i].b = next[3 * i - 1];
    }
    grey(result, line);
    for (int i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
        if (i >= LARGEST) break;
        out[i] = (uint32_t)apply(op, result[i]) + words[i] + w.bits;
    }
}

/* Others' functions in a header cost nothing while the kernel calls none of them. */
int elsewhere(int x);
static inline int unused(int x) {
    return elsewhere(x);
}
