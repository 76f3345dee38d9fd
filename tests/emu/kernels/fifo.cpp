/* SPDX-License-Identifier: Apache-2.0 */
/* fifo.cpp -- what depends on the depth of a FIFO. `late` sends n values through one stream and, after all of
 * them, their sum through another; its consumer wants the sum first. So it needs DEPTH >= n: fewer is a
 * deadlock in hardware and passes in a sequential run. */
#include <hls_stream.h>

#ifndef DEPTH
#define DEPTH 2
#endif

template <int Times> int &calls() {
    static int n; /* one for each compute unit, even in a template */
    n += Times;
    return n;
}

/* A comment with #pragma HLS DATAFLOW and { braces } "quotes; 'and' call(a, b); changes nothing. */
static const char text[] = "#pragma HLS DATAFLOW { load(a, b); } \" ' ( \\";
static const char raw[] = R"x(} " #pragma HLS DATAFLOW )" )x";
static const int thousand = 1'000;

static void produce(const int *in, hls::stream<int> &values, hls::stream<int> &sum, int n) {
    int s = 0;
    for (int i = 0; i < n; i++) {
        values.write(in[i]);
        s += in[i];
    }
    sum.write(s);
}

static void consume(hls::stream<int> &values, hls::stream<int> &sum, int *out, int n) {
    const int s = sum.read();
    for (int i = 0; i < n; i++) out[i] = values.read() + s;
}

extern "C" void late(const int *in, int *out, int n) {
    hls::stream<int> values, sum;
#pragma HLS STREAM variable = values depth = DEPTH
#pragma HLS dataflow
    produce(in, values, sum, n);
    consume(values, sum, out, n);
}

namespace stage {
template <typename T, int By> void scale(hls::stream<T> &from, hls::stream<T> &to, int n) {
    for (int i = 0; i < n; i++) to << T(from.read() * By);
}
} // namespace stage

static void split(const int *in, hls::stream<int> to[2], int n) {
    for (int i = 0; i < n; i++) to[i & 1].write(in[i]);
}

/* Looks before it reads, as a process that must not stop does. */
static void join(hls::stream<int> from[2], hls::stream<int, 4> &to, int n) {
    for (int i = 0; i < n; i++) {
        int v;
        while (!from[i & 1].read_nb(v)) continue;
        to.write(v);
    }
}

/* A region inside a process. */
static void twice(hls::stream<int, 4> &from, hls::stream<int> &to, int n) {
    hls::stream<int> inner("inner");
#pragma HLS DATAFLOW
    stage::scale<int, 2>(from, inner, n);
    stage::scale<int, 1>(inner, to, n);
}

static void store(hls::stream<int> &from, int *out, int n) {
    for (int i = 0; i < n; i++) out[i] = from.read();
}

/* Depths of 2, an array of streams, polling, templates and a nested region: out = 2 * in. */
extern "C" void many(const int *in, int *out, int n) {
    const int size = text[0] == '#' && raw[0] == '}' && thousand == 1000 ? n : 0;
    hls::stream<int> pair[2];
    hls::stream<int, 4> joined;
#pragma HLS DATAFLOW
    split(in, pair, size);
    join(pair, joined, size);
    hls::stream<int> doubled;
    twice(joined,
          doubled, // the name of a process is what stands before the (
          size);
    ::store(doubled, &out[0], size);
}

static void load(const int *from, hls::stream<int> &to, int n) {
    for (int i = 0; i < n; i++) to.write(from[i]);
}

/* A region as the body of a loop. */
extern "C" void rows(const int *in, int *out, int n) {
    for (int r = 0; r < n; r += 8) {
#pragma HLS DATAFLOW
        hls::stream<int> one, two;
        load(in + r, one, 8);
        stage::scale<int, 2>(one, two, 8);
        store(two, out + r, 8);
    }
}

extern "C" void tally(int *out) {
    out[0] = calls<1>();
}
