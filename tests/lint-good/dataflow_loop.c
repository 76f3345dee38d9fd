/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: a region as a loop's body, with state that one stage keeps */
enum { LENGTH = 64 };

static void load(int to[LENGTH], const int *in, int i) {
    for (int k = 0; k < LENGTH; k++) to[k] = in[LENGTH * i + k];
}
static void sum(int *out, int total[1], const int from[LENGTH]) {
    for (int k = 0; k < LENGTH; k++) total[0] += from[k];
    *out = total[0];
}
static void store(int *out, int value, int i) {
    out[i] = value;
}

void kernel(const int *in, int *out, int n) {
    int total[1] = {0};
    for (int i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 1024
#pragma HLS DATAFLOW
        int a[LENGTH], value;
        load(a, in, i);
        sum(&value, total, a);
        store(out, value, i);
    }
}
