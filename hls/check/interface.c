/* SPDX-License-Identifier: Apache-2.0 */
/* interface.c -- ports. Only the function that v++ makes a kernel of has any: extern "C", in C++, called by
 * nobody. Each of its pointers is an m_axi port that states what the tools' defaults get wrong on a card, and
 * its registers are one s_axilite. */
#include "check.h"
#include <stdlib.h>
#include <string.h>

enum { BURST_BYTES = 4096, WORD_BYTES = 64 }; /* a burst may not cross 4 KiB */

static bool is_port(const check_pragma *g, const char *mode) {
    const char *m = check_option_value(g, "mode");
    return strcmp(g->directive, "INTERFACE") == 0 &&
           (check_option_value(g, mode) || (m && strcmp(m, mode) == 0));
}
static const check_pragma *port_of(const check_program *p, const check_fn *f, const char *mode,
                                   const char *name) {
    for (int i = 0; i < p->n_pragmas; i++) {
        const char *port = check_option_value(&p->pragmas[i], "port");
        if (p->pragmas[i].fn == f && port && strcmp(port, name) == 0 && is_port(&p->pragmas[i], mode))
            return &p->pragmas[i];
    }
    return NULL;
}

static void check_m_axi(const check_pragma *g, const json_t *param) {
    bool is_read = strncmp(check_type(param), "const ", 6) == 0;
    const char *const wanted[] = {"bundle",
                                  "offset",
                                  "latency",
                                  "max_widen_bitwidth",
                                  is_read ? "num_read_outstanding" : "num_write_outstanding",
                                  is_read ? "max_read_burst_length" : "max_write_burst_length"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!check_option_value(g, wanted[i]))
            check_report(g->file, g->line, "m-axi", wanted[i], "this m_axi port does not state it");
    const char *width = check_option_value(g, "max_widen_bitwidth"),
               *burst = check_option_value(g, wanted[5]);
    if (width && strcmp(width, "512") != 0)
        check_report(g->file, g->line, "m-axi", "max_widen_bitwidth is not 512",
                     "a card's memory moves words of 512 bits");
    if (burst && (atoi(burst) < 2 || atoi(burst) > BURST_BYTES / WORD_BYTES))
        check_report(g->file, g->line, "m-axi", "a burst of fewer than 2 or more than 64 words of 64 bytes",
                     "stay within: a burst may not cross 4 KiB");
}

static void check_top(const check_program *p, const check_fn *f) {
    for (int i = 0; i < f->n_params; i++) {
        const char *name = check_text(f->params[i], "name");
        if (!check_is_pointer(check_type(f->params[i]))) continue;
        const check_pragma *g = port_of(p, f, "m_axi", name);
        if (g)
            check_m_axi(g, f->params[i]);
        else
            check_report_at(f->params[i], "m-axi", name, "give the pointer an INTERFACE m_axi");
    }
    if (!port_of(p, f, "s_axilite", "return"))
        check_report_at(f->decl, "m-axi", f->name,
                        "add INTERFACE s_axilite port = return: XRT starts kernels through it");
}

void check_interfaces(check_program *p) {
    for (int i = 0; i < p->n_pragmas; i++) {
        const check_pragma *g = &p->pragmas[i];
        if (strcmp(g->directive, "INTERFACE") != 0 || !g->fn) continue;
        const char *port = check_option_value(g, "port");
        bool is_known = port && strcmp(port, "return") == 0, is_first = true;
        if (!g->fn->is_c || g->fn->is_called) {
            check_report(g->file, g->line, "interface-place",
                         "INTERFACE in a function that is not the kernel's top",
                         "move it to the extern \"C\" function of K_top.cpp");
            continue;
        }
        for (int k = 0; k < g->fn->n_params && port; k++)
            is_known |= strcmp(port, check_text(g->fn->params[k], "name")) == 0;
        if (port && !is_known)
            check_report(g->file, g->line, "port", port, "name an argument of the kernel, or return");
        for (int k = 0; k < i; k++)
            is_first &= p->pragmas[k].fn != g->fn || strcmp(p->pragmas[k].directive, "INTERFACE") != 0;
        if (is_first) check_top(p, g->fn);
    }
}
