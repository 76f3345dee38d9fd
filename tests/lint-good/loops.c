/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: every form of a loop whose longest run is known */
enum { N = 64, STEP = 4 };

void kernel(const int *in, int *out, int n) {
    int lanes[N];
#pragma HLS ARRAY_PARTITION variable = lanes cyclic factor = 4
#pragma HLS BIND_STORAGE variable = lanes type = ram_2p impl = bram
    for (int i = 0; i < N; i += STEP) {
#pragma HLS UNROLL factor = 2
        lanes[i] = 0;
    }
    for (int i = N - 1; i >= 0; i--) lanes[i] = in[i];
    for (int i = 0; i != N / 2; ++i) lanes[i] += 1;
    do {
        lanes[0]++;
    } while (0);
    while (n > 0) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64 avg = 32
#pragma HLS DEPENDENCE variable = lanes inter false
        lanes[n % N] += n;
        n--;
    }
    for (int i = 0; i < N && lanes[i] < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
#pragma HLS PIPELINE II = 1 rewind
        for (int k = 0; k < STEP; k++) {
#pragma HLS UNROLL
            if (k < n) out[i] += lanes[(i + k) % N];
        }
    }
}
