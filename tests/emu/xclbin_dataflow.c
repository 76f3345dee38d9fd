/* SPDX-License-Identifier: Apache-2.0 */
/* xclbin_dataflow.c -- the rewriter of DATAFLOW regions: what it writes, where its messages point, and that
 * no input, however broken, makes it crash or touch what is not a region. card_fifo.sh compiles and runs it.
 */
#include "base/rng.h"
#include "xclbin/dataflow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static int regions;
static lpo_error err;

static char *rewrite(const char *text) {
    char *out;
    size_t n;
    lpo_status st = xb_dataflow_rewrite(&out, &n, &regions, text, strlen(text), "k.cpp", &err);
    cr_assert((st == LPO_OK) == (out != NULL));
    return out;
}

static void becomes(const char *text, const char *wanted) {
    char *out = rewrite(text);
    cr_assert(out && !strcmp(out, wanted), "%s\n", out ? out : err.msg);
    free(out);
}

static void refused(const char *text, const char *message) {
    char *out = rewrite(text);
    cr_assert(!out && strstr(err.msg, message), "%s", out ? out : err.msg);
    free(out);
}

/* Calls become processes; the stream both name is shared; depth, declarations and lines stay. */
Test(xclbin_dataflow, region) {
    becomes(
        "void f(int *a) {\n"
        "    hls::stream<int> s;\n"
        "#pragma HLS STREAM variable=s depth = 4\n"
        "#pragma HLS DATAFLOW\n"
        "    load(a, s);\n"
        "    ns::store<int, (2>1)>(s);\n"
        "}\n",
        "void f(int *a) { ::leanpo::region leanpo_region_;\n"
        "    hls::stream<int> s;\n"
        "::leanpo::set_depth(s, 4, \"s\");\n"
        "#pragma HLS DATAFLOW\n"
        "    ::leanpo::label(a, \"a\"); ::leanpo::label(s, \"s\"); leanpo_region_.add(\"load\", [&] { "
        "[&](auto &s) { load(a, s); }(::leanpo::share(s)); });\n"
        "    ::leanpo::label(s, \"s\"); leanpo_region_.add(\"ns::store<int,(2>1)>\", [&] { [&](auto &s) { "
        "ns::store<int, (2>1)>(s); }(::leanpo::share(s)); });\n"
        "leanpo_region_.run(); }\n");
    cr_assert(regions == 1);
}

/* Text that only looks like a region, a brace or a call, and code without one, is untouched. */
Test(xclbin_dataflow, untouched) {
    static const char *const same[] = {
        "const char *s = \"#pragma HLS DATAFLOW { f(a); }\";\n",
        "// #pragma HLS DATAFLOW {\nvoid f() { g(1'000, '{', 'x'); }\n",
        "auto r = R\"z(\n#pragma HLS DATAFLOW\n)\" } )z\";\n",
        "/* {\n#pragma HLS DATAFLOW\n*/ void f() { g(); }\n",
        "void f() {\n#pragma HLS PIPELINE\n#pragma omp dataflow\n    g();\n}\n",
        "",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) becomes(same[i], same[i]);
    cr_assert(regions == 0);
}

/* A depth that is a macro has its value; the macros themselves go. */
Test(xclbin_dataflow, macros) {
    becomes("#define D E\n#define E 16\nvoid f() {\n#pragma hls stream depth=D variable=s\n}\n",
            "\n\nvoid f() {\n::leanpo::set_depth(s, 16, \"s\");\n}\n");
}

Test(xclbin_dataflow, return_at_the_end) {
    becomes("int f() {\n#pragma HLS DATAFLOW\ng();\nreturn 0;\n}",
            "int f() { ::leanpo::region leanpo_region_;\n#pragma HLS DATAFLOW\nleanpo_region_.add(\"g\", [&] "
            "{ [&]() { "
            "g(); }(); });\nleanpo_region_.run(); return 0;\n}");
}

/* Messages name the file and line the preprocessor says, or the source itself. */
Test(xclbin_dataflow, refusals) {
#define BODY(statements) "void f(int n) {\n#pragma HLS DATAFLOW\n    g(n);\n" statements "}\n"
    refused(BODY("for (;;) g(n);\n"), "k.cpp:4: a DATAFLOW region holds declarations and calls only");
    refused(BODY("if (n) g(n);\n"), "k.cpp:4: a DATAFLOW region holds");
    refused(BODY("{ g(n); }\n"), "k.cpp:4: a DATAFLOW region holds");
    refused(BODY("label: g(n);\n"), "k.cpp:4: a DATAFLOW region holds");
    refused(BODY("n = g(n);\n"), "k.cpp:4: neither a declaration nor a call");
    refused(BODY("s.write(n);\n"), "k.cpp:4: neither");
    refused(BODY("s << n;\n"), "k.cpp:4: neither");
    refused(BODY("return;\ng(n);\n"), "k.cpp:4: a return inside");
    refused(BODY("# 70 \"other.h\"\n\nn++;\n"), "other.h:71: neither");
    refused("#pragma HLS DATAFLOW\n", "k.cpp:1: DATAFLOW outside a function");
    refused("#pragma HLS STREAM variable=s depth=4\n", "k.cpp:1: a STREAM pragma needs");
    refused("void f() {\n#pragma HLS STREAM depth=4\n}", "k.cpp:2: a STREAM pragma needs");
    refused("void f() {\n#pragma HLS STREAM variable=a,b depth=4\n}", "one variable");
    refused("void f() { g(; }", "k.cpp:1: a bracket without its partner");
    refused("void f() {\n g(\n", "k.cpp:2: a bracket that is not closed");
}

/* Every prefix, every single deleted byte and thousands of overwritten ones. */
Test(xclbin_dataflow, broken_text) {
    static const char text[] =
        "# 1 \"a.cpp\"\n#define N 4\nstatic const char t[] = R\"d({)d\" \"\\\"\" '\\'';\n"
        "template <int K> void f(const int *a, int *o) {\n  hls::stream<int> s[2], q(\"q\");\n"
        "#pragma HLS STREAM variable=s depth=N\n#pragma HLS DATAFLOW\n  static int x[3] = {1, 2, 3};\n"
        "  g<K>(a, s[0], &x[1], h(2, 3));\n  ::n::p(s, q, o);\n  return;\n}\n";
    static const char spice[] = "(){}[]<>\"'#;:,\\/*R&\n =x1";
    const size_t n = sizeof text - 1;
    lpo_rng rng = lpo_rng_init(3, 0);
    size_t out_n;
    char *out = rewrite(text);
    cr_assert(out && regions == 1, "%s", err.msg);
    free(out);
    for (size_t i = 0; i <= 2 * n + 20000; i++) {
        size_t m = i <= n ? i : n, at = i <= n ? 0 : i - n - 1;
        char *copy = malloc(m + !m); /* exact: the sanitizer sees a read behind it */
        memcpy(copy, text, m);
        if (i > n && i <= 2 * n) memmove(copy + at, copy + at + 1, --m - at);
        for (int k = 0; i > 2 * n && k < 3; k++)
            copy[lpo_rng_below(&rng, (uint32_t)m)] = spice[lpo_rng_below(&rng, sizeof spice - 1)];
        lpo_status st = xb_dataflow_rewrite(&out, &out_n, &regions, copy, m, "k.cpp", &err);
        cr_assert(st == LPO_OK || (st == LPO_EUNSUPPORTED && strchr(err.msg, ':')));
        free(out);
        free(copy);
    }
}
