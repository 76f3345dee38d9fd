/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: a region as a function's body, with a channel an element, an array rewritten in place, two
 * outputs */
enum { LENGTH = 64, LOAD, ADD, STORE };

typedef struct settings {
    int n, factor;
} settings;

static void load(int to[LENGTH], settings each[4], const int *in, int n) {
    for (int k = 0; k < LENGTH; k++) to[k] = in[k];
    for (int k = 0; k < 4; k++) {
        each[k].n = n;
        each[k].factor = 2 * n;
    }
}
static void add(int left[LENGTH], int right[LENGTH], const int from[LENGTH], settings s) {
    for (int k = 0; k < LENGTH; k++) {
        left[k] = from[k] + s.n;
        right[k] = 0;
        right[k] += from[k] * s.factor;
    }
}
static void store(int *out, const int left[LENGTH], const int right[LENGTH], settings s) {
    for (int k = 0; k < LENGTH; k++) out[k] = left[k] + right[k] * s.factor;
}

void kernel(const int *in, int *out, int n) {
#pragma HLS DATAFLOW
    int a[LENGTH], left[LENGTH], right[LENGTH];
    settings each[4];
#pragma HLS ARRAY_PARTITION variable = each complete
#pragma HLS STREAM variable = left depth = 16 type = fifo
    load(a, each, in, n);
    add(left, right, a, each[0]);
    store(out, left, right, each[1]);
}
