/* SPDX-License-Identifier: Apache-2.0 */
/* build.c -- HLS sources to a container the software card loads: compile, generate the thunks, describe,
 * pack. A thunk turns a compute unit's register map into a C call: scalars are copied from their offset,
 * device addresses become pointers. It is C with every pointer as void *, so it needs none of the kernel's
 * types; C++ kernels are extern "C", as v++ asks of them anyway. Everything happens in a private folder that
 * is removed at the end. */
#include "base/arena.h"
#include "base/file.h"
#include "leanpo/xclbin.h"
#include "xclbin/dataflow.h"
#include "xclbin/format.h"
#include "xclbin/signature.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_KERNELS = 32, MAX_MEMORIES = 64, MAX_WORDS = 256 };
static const uint64_t CARD_MIB = 64 << 10; /* the card's address range */

typedef struct build {
    const lpo_xclbin_build_options *o;
    lpo_arena *arena;
    char dir[4096], include[4096];
    xb_kernel kernels[MAX_KERNELS];
    int cus[MAX_KERNELS], n_cus; /* of each kernel, of all */
    int n_memories, n_regions;
    lpo_error *err;
} build;

lpo_xclbin_build_options lpo_xclbin_build_default(void) {
    return (lpo_xclbin_build_options){.cus = 1, .bank_mib = 16 << 10};
}

/* A command line under construction: words from options are split at spaces. */
typedef struct words {
    char *v[MAX_WORDS + 1];
    int n;
} words;

static void add(build *b, words *w, const char *word) {
    if (w->n < MAX_WORDS) w->v[w->n++] = lpo_arena_strdup(b->arena, word);
}

static void add_split(build *b, words *w, const char *text) {
    char *copy = lpo_arena_strdup(b->arena, text ? text : ""), *save = NULL;
    for (char *t = copy ? strtok_r(copy, " \t", &save) : NULL; t; t = strtok_r(NULL, " \t", &save))
        add(b, w, t);
}

static lpo_status run(build *b, words *w, const char *what) {
    pid_t pid;
    int status, e = w->n < MAX_WORDS ? 0 : E2BIG;
    for (int i = 0; i < w->n; i++)
        if (!w->v[i]) e = ENOMEM;
    w->v[w->n] = NULL;
    if (!e) e = posix_spawnp(&pid, w->v[0], NULL, NULL, w->v, environ);
    if (e)
        return lpo_fail(b->err, LPO_EIO, "%s: cannot run %s: %s (install gcc and g++, or set CC and CXX)",
                        what, w->v[0], strerror(e));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return lpo_fail(b->err, LPO_EIO, "%s: waiting for %s: %s", what, w->v[0], strerror(errno));
    if (status) return lpo_fail(b->err, LPO_EFORMAT, "%s: %s failed, its messages are above", what, w->v[0]);
    return LPO_OK;
}

static int is_cxx(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && (!strcmp(dot, ".cpp") || !strcmp(dot, ".cc") || !strcmp(dot, ".cxx") || !strcmp(dot, ".C"));
}

static const char *compiler(int cxx) {
    const char *v = getenv(cxx ? "CXX" : "CC");
    return v && *v ? v : cxx ? "c++" : "cc";
}

/* A template's static is one for the whole process in GNU's C++, unless told otherwise; compute units need
 * theirs. */
static const char *own_statics(int cxx) {
    return cxx && !strstr(compiler(cxx), "clang") ? "-fno-gnu-unique" : "";
}

static lpo_status compile(build *b, const char *source, int cxx, const char *how, const char *object) {
    words w = {.n = 0};
    add_split(b, &w, compiler(cxx));
    add_split(b, &w, "-O2 -g1 -fPIC -Wno-unknown-pragmas -Wno-unused-label");
    add_split(b, &w, own_statics(cxx));
    add_split(b, &w, how);
    for (int i = 0; i < b->o->n_include_dirs; i++) {
        add(b, &w, "-I");
        add(b, &w, b->o->include_dirs[i]);
    }
    add(b, &w, "-I");
    add(b, &w, b->include);
    add_split(b, &w, b->o->cflags);
    add(b, &w, source);
    add(b, &w, "-o");
    add(b, &w, object);
    return run(b, &w, source);
}

/* The account of hls/timing.h comes with every container: weak, so that sources which bring it keep theirs.
 */
static const char thunk_timing[] =
    "#pragma weak lpo_hls_timing_begin\n#pragma weak lpo_hls_timing_get\n#pragma weak lpo_hls_timing_region\n"
    "#pragma weak lpo_hls_timing_stage\n#pragma weak lpo_hls_timing_loop\n#pragma weak lpo_hls_timing_burst\n"
    "#include \"hls/timing.c\"\n"
    "__attribute__((unused)) static void timing_end(uint64_t *cycles, uint64_t *bytes) {\n"
    "    lpo_hls_timing t;\n"
    "    lpo_hls_timing_get(&t);\n"
    "    *cycles = lpo_hls_timing_region(&t);\n"
    "    *bytes = 0;\n"
    "    for (int s = 0; s < HLS_MAX_STAGES; s++) *bytes += t.bytes[s];\n"
    "}\n";

static lpo_status write_thunk(build *b, const char *path) {
    FILE *f = fopen(path, "w");
    if (!f) return lpo_fail(b->err, LPO_EIO, "%s: %s", path, strerror(errno));
    fputs("#include \"card_kernel.h\"\n#include <string.h>\n", f);
    fputs(thunk_timing, f);
    /* Processes that run at once share the account of a thread: their stages would mix. */
    if (!b->o->bounded_fifo)
        fputs("const card_timing card_timing_model = {lpo_hls_timing_begin, timing_end};\n", f);
    for (int i = 0; i < b->o->n_kernels; i++) {
        const xb_kernel *k = &b->kernels[i];
        fprintf(f, "void %s(", k->name);
        for (int a = 0; a < k->n_args; a++)
            fprintf(f, "%s%s", a ? ", " : "", k->args[a].pointer ? "void *" : k->args[a].c_type);
        fprintf(f, "%s);\nstatic void run_%s(const uint8_t *regs, const card_env *env) {\n",
                k->n_args ? "" : "void", k->name);
        for (int a = 0; a < k->n_args; a++) {
            const xb_arg *g = &k->args[a];
            const char *c_type = g->pointer                   ? "uint64_t"
                                 : strcmp(g->c_type, "_Bool") ? g->c_type
                                                              : "unsigned char";
            fprintf(f, "    %s a%d; memcpy(&a%d, regs + 0x%x, sizeof a%d);\n", c_type, a, a, g->offset, a);
        }
        fprintf(f, "    (void)regs; (void)env;\n    %s(", k->name);
        for (int a = 0; a < k->n_args; a++)
            fprintf(f, k->args[a].pointer ? "%senv->pointer(env, a%d)" : "%sa%d", a ? ", " : "", a);
        fprintf(f, ");\n}\n");
    }
    fprintf(f, "const card_kernel card_kernels[] = {");
    for (int i = 0; i < b->o->n_kernels; i++)
        fprintf(f, "{\"%s\", run_%s}, ", b->kernels[i].name, b->kernels[i].name);
    fprintf(f, "{0, 0}};\n");
    int bad = ferror(f);
    if (fclose(f) || bad) return lpo_fail(b->err, LPO_EIO, "%s: %s", path, strerror(errno));
    return LPO_OK;
}

/* Preprocess, turn the calls of DATAFLOW regions into processes, compile. */
static lpo_status compile_bounded(build *b, const char *source, int i, const char *object) {
    char *before = lpo_arena_printf(b->arena, "%s/%d.before", b->dir, i),
         *after = lpo_arena_printf(b->arena, "%s/%d.ii", b->dir, i), *text = NULL, *out = NULL;
    size_t size, out_size;
    int n = 0, cxx = is_cxx(source);
    if (!before || !after) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    lpo_status st = compile(b, source, cxx, "-E -dD -DLEANPO_BOUNDED_FIFO", before);
    if (!st) st = lpo_file_read(&text, &size, before, 256 << 20, b->err);
    if (!st) st = xb_dataflow_rewrite(&out, &out_size, &n, text, size, source, b->err);
    if (!st && n && !cxx)
        st = lpo_fail(
            b->err, LPO_EUNSUPPORTED,
            "%s: the channels of DATAFLOW in C are arrays; --bounded-fifo checks hls::stream of C++", source);
    if (!st) st = lpo_file_write(after, out, out_size, b->err);
    if (!st) st = cxx ? compile(b, after, 1, "-c", object) : compile(b, source, 0, "-c", object);
    b->n_regions += n;
    free(text);
    free(out);
    return st;
}

static lpo_status compile_all(build *b, const char *so) {
    words link = {.n = 0};
    int cxx = 0;
    char *thunk = lpo_arena_printf(b->arena, "%s/thunk.c", b->dir);
    if (!thunk) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    lpo_status st = write_thunk(b, thunk);
    for (int i = 0; i < b->o->n_sources; i++) cxx |= is_cxx(b->o->sources[i]);
    add_split(b, &link, compiler(cxx));
    add_split(b, &link, "-shared -fPIC -Wl,-z,defs -o");
    add(b, &link, so);
    for (int i = 0; i <= b->o->n_sources && !st; i++) {
        const char *source = i < b->o->n_sources ? b->o->sources[i] : thunk;
        char *object = lpo_arena_printf(b->arena, "%s/%d.o", b->dir, i);
        if (!object) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
        if (b->o->bounded_fifo && source != thunk)
            st = compile_bounded(b, source, i, object);
        else
            st = compile(b, source, is_cxx(source), "-c", object);
        add(b, &link, object);
    }
    if (st) return st;
    if (b->o->bounded_fifo && !b->n_regions)
        return lpo_fail(b->err, LPO_EUNSUPPORTED,
                        "%s: no DATAFLOW region in the sources: bounded FIFOs would check nothing",
                        b->o->out);
    add_split(b, &link, b->o->cflags);
    add_split(b, &link, "-lm");
    st = run(b, &link, b->o->out);
    return st ? lpo_fail_in(b->err, st, "linking (is every kernel of a C++ source extern \"C\"?)") : LPO_OK;
}

/* "a=1" or "vadd.a=1". */
static lpo_status apply_bank(build *b, const char *text) {
    const char *eq = strchr(text, '='), *dot = strchr(text, '.');
    char *end = NULL;
    long bank = eq ? strtol(eq + 1, &end, 10) : -1;
    if (!eq || end == eq + 1 || *end || bank < 0 || bank >= MAX_MEMORIES)
        return lpo_fail(b->err, LPO_EINVAL, "bank \"%s\": write ARGUMENT=N or KERNEL.ARGUMENT=N, N below %d",
                        text, MAX_MEMORIES);
    if (dot > eq) dot = NULL;
    const char *name = dot ? dot + 1 : text;
    int hits = 0;
    for (int i = 0; i < b->o->n_kernels; i++) {
        xb_kernel *k = &b->kernels[i];
        if (dot && (strlen(k->name) != (size_t)(dot - text) || memcmp(k->name, text, (size_t)(dot - text))))
            continue;
        for (int a = 0; a < k->n_args; a++) {
            if (strlen(k->args[a].name) != (size_t)(eq - name) ||
                memcmp(k->args[a].name, name, (size_t)(eq - name)))
                continue;
            if (!k->args[a].pointer)
                return lpo_fail(b->err, LPO_EINVAL, "bank \"%s\": %s is a scalar", text, k->args[a].name);
            k->args[a].memory = (int)bank;
            hits++;
        }
    }
    if (!hits) return lpo_fail(b->err, LPO_ENOTFOUND, "bank \"%s\": no kernel has that argument", text);
    if (bank >= b->n_memories) b->n_memories = (int)bank + 1;
    return LPO_OK;
}

static void put_escaped(FILE *f, const char *s) {
    for (; *s; s++)
        if (*s == '<')
            fputs("&lt;", f);
        else if (*s == '>')
            fputs("&gt;", f);
        else
            fputc(*s, f);
}

static const uint64_t CU_BASE = 0x1000000, CU_STEP = 0x10000;

static void put_kernel_xml(FILE *f, const xb_kernel *k, int first_cu, int cus) {
    fprintf(f, "<kernel name=\"%s\" language=\"c\" type=\"pl\">\n", k->name);
    fputs("<port name=\"M_AXI_GMEM\" mode=\"master\" range=\"0xFFFFFFFFFFFFFFFF\" dataWidth=\"512\" "
          "portType=\"addressable\" "
          "base=\"0x0\"/>\n"
          "<port name=\"S_AXI_CONTROL\" mode=\"slave\" range=\"0x1000\" dataWidth=\"32\" "
          "portType=\"addressable\" base=\"0x0\"/>\n",
          f);
    for (int i = 0; i < k->n_args; i++) {
        const xb_arg *a = &k->args[i];
        fprintf(
            f,
            "<arg name=\"%s\" addressQualifier=\"%d\" id=\"%d\" port=\"%s\" size=\"0x%x\" offset=\"0x%x\" "
            "hostOffset=\"0x0\" hostSize=\"0x%x\" type=\"",
            a->name, a->pointer, i, a->pointer ? "M_AXI_GMEM" : "S_AXI_CONTROL", a->size, a->offset, a->size);
        put_escaped(f, a->type);
        fputs("\"/>\n", f);
    }
    for (int c = 0; c < cus; c++)
        fprintf(f,
                "<instance name=\"%s_%d\"><addrRemap base=\"0x%" PRIx64
                "\" port=\"S_AXI_CONTROL\"/></instance>\n",
                k->name, c + 1, CU_BASE + (uint64_t)(first_cu + c) * CU_STEP);
    fputs("</kernel>\n", f);
}

static lpo_status make_xml(build *b, char **xml, size_t *size) {
    FILE *f = open_memstream(xml, size);
    if (!f) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<project name=\"leanpo\">\n"
          "<platform vendor=\"leanpo\" boardid=\"card\" name=\"emulation\" featureRomTime=\"0\">\n"
          "<version major=\"1\" minor=\"0\"/>\n<device name=\"fpga0\">\n"
          "<core name=\"OCL_REGION_0\" target=\"csim\" type=\"clc_region\">\n"
          "<kernelClocks><clock port=\"KERNEL_CLK\" frequency=\"300.0MHz\"/></kernelClocks>\n",
          f);
    for (int i = 0, first = 0; i < b->o->n_kernels; first += b->cus[i++])
        put_kernel_xml(f, &b->kernels[i], first, b->cus[i]);
    fputs("</core>\n</device>\n</platform>\n</project>\n", f);
    int bad = ferror(f);
    if (fclose(f) || bad) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    return LPO_OK;
}

static void put(uint8_t *at, uint64_t v, size_t n) {
    memcpy(at, &v, n);
}

/* The three tables, each one allocation of the arena. */
static lpo_status make_tables(build *b, lpo_xclbin_part *memory, lpo_xclbin_part *connections,
                              lpo_xclbin_part *layout) {
    int n_con = 0;
    for (int i = 0; i < b->o->n_kernels; i++)
        for (int a = 0; a < b->kernels[i].n_args; a++) n_con += b->kernels[i].args[a].pointer * b->cus[i];
    size_t size[3] = {XB_MEM_HEAD + (size_t)b->n_memories * XB_MEM, XB_CON_HEAD + (size_t)n_con * XB_CON,
                      XB_IP_HEAD + (size_t)b->n_cus * XB_IP};
    uint8_t *m = lpo_arena_alloc(b->arena, size[0], 1), *c = lpo_arena_alloc(b->arena, size[1], 1),
            *l = lpo_arena_alloc(b->arena, size[2], 1);
    if (!m || !c || !l) return lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    *memory = (lpo_xclbin_part){LPO_XCLBIN_MEMORY, m, size[0]};
    *connections = (lpo_xclbin_part){LPO_XCLBIN_CONNECTIVITY, c, size[1]};
    *layout = (lpo_xclbin_part){LPO_XCLBIN_IP_LAYOUT, l, size[2]};
    put(m, (uint64_t)b->n_memories, 4);
    m += XB_MEM_HEAD;
    for (int i = 0; i < b->n_memories; i++, m += XB_MEM) {
        m[0] = XB_MEM_DDR4;
        m[1] = 1;
        put(m + 8, (uint64_t)b->o->bank_mib << 10, 8);
        put(m + 16, (uint64_t)i * (uint64_t)b->o->bank_mib << 20, 8);
        snprintf((char *)m + 24, 16, "bank%d", i);
    }
    put(c, (uint64_t)n_con, 4);
    put(l, (uint64_t)b->n_cus, 4);
    c += XB_CON_HEAD;
    l += XB_IP_HEAD;
    for (int ip = 0, i = 0, cu = 1; ip < b->n_cus; ip++, cu++, l += XB_IP) {
        if (cu > b->cus[i]) i++, cu = 1;
        const xb_kernel *k = &b->kernels[i];
        put(l, XB_IP_KERNEL, 4);
        put(l + 8, CU_BASE + (uint64_t)ip * CU_STEP, 8);
        snprintf((char *)l + 16, 64, "%s:%s_%d", k->name, k->name, cu);
        for (int a = 0; a < k->n_args; a++) {
            if (!k->args[a].pointer) continue;
            put(c, (uint64_t)a, 4);
            put(c + 4, (uint64_t)ip, 4);
            put(c + 8, (uint64_t)k->args[a].memory, 4);
            c += XB_CON;
        }
    }
    return LPO_OK;
}

static lpo_status count_units(build *b) {
    const lpo_xclbin_build_options *o = b->o;
    for (int i = 0; i < o->n_kernels; i++) b->cus[i] = o->cus;
    for (int i = 0; i < o->n_kernel_cus; i++) {
        const char *eq = strchr(o->kernel_cus[i], '=');
        int hits = 0;
        for (int k = 0; eq && k < o->n_kernels; k++) {
            size_t n = strlen(b->kernels[k].name);
            if (n != (size_t)(eq - o->kernel_cus[i]) || memcmp(b->kernels[k].name, o->kernel_cus[i], n))
                continue;
            b->cus[k] = atoi(eq + 1);
            hits++;
        }
        if (!hits)
            return lpo_fail(b->err, LPO_EINVAL,
                            "compute units \"%s\": write KERNEL=N, KERNEL one of those built",
                            o->kernel_cus[i]);
    }
    for (int k = 0; k < o->n_kernels; k++) {
        if (b->cus[k] < 1 || b->cus[k] > 32 || b->n_cus + b->cus[k] > 128)
            return lpo_fail(b->err, LPO_EINVAL,
                            "%d compute units of kernel %s: 1 to 32 of a kernel, and a container holds 128",
                            b->cus[k], b->kernels[k].name);
        b->n_cus += b->cus[k];
    }
    return LPO_OK;
}

static lpo_status read_options(build *b) {
    const lpo_xclbin_build_options *o = b->o;
    lpo_status st;
    if (o->n_sources < 1 || o->n_kernels < 1 || o->n_kernels > MAX_KERNELS || !o->out)
        return lpo_fail(b->err, LPO_EINVAL,
                        "xclbin build needs at least one source, 1..%d kernel signatures and an output",
                        MAX_KERNELS);
    b->n_memories = 1;
    for (int i = 0; i < o->n_kernels; i++) {
        if ((st = xb_signature_parse(&b->kernels[i], o->kernels[i], b->err))) return st;
        if (2 * strlen(b->kernels[i].name) + 5 > 63)
            return lpo_fail(b->err, LPO_ELIMIT, "kernel %s: \"name:name_32\" must fit in 63 characters",
                            b->kernels[i].name);
        for (int j = 0; j < i; j++)
            if (!strcmp(b->kernels[i].name, b->kernels[j].name))
                return lpo_fail(b->err, LPO_EINVAL, "kernel %s is named twice", b->kernels[i].name);
    }
    if ((st = count_units(b))) return st;
    for (int i = 0; i < o->n_banks; i++)
        if ((st = apply_bank(b, o->banks[i]))) return st;
    if (o->bank_mib < 1 || (uint64_t)o->bank_mib * (uint64_t)b->n_memories > CARD_MIB)
        return lpo_fail(b->err, LPO_EINVAL,
                        "%d banks of %d MiB: the card has %" PRIu64 " MiB; choose smaller banks",
                        b->n_memories, o->bank_mib, CARD_MIB);
    return LPO_OK;
}

static lpo_status build_in_dir(build *b) {
    lpo_xclbin_part parts[5];
    lpo_mapping so = {0};
    char *xml = NULL, *path = lpo_arena_printf(b->arena, "%s/kernels.so", b->dir);
    size_t xml_size = 0;
    lpo_status st = path ? compile_all(b, path) : lpo_fail(b->err, LPO_ENOMEM, "out of memory");
    if (st) return st;
    if (!(st = lpo_file_map(&so, path, b->err)) && !(st = make_xml(b, &xml, &xml_size)) &&
        !(st = make_tables(b, &parts[2], &parts[3], &parts[4]))) {
        parts[0] = (lpo_xclbin_part){LPO_XCLBIN_BITSTREAM, so.data, so.size_bytes};
        parts[1] = (lpo_xclbin_part){LPO_XCLBIN_METADATA, xml, xml_size};
        st = lpo_xclbin_write(b->o->out, LPO_XCLBIN_SW_EMU, "leanpo_card_emulation_1", parts, 5, b->err);
    }
    free(xml);
    lpo_file_unmap(&so);
    return st;
}

lpo_status lpo_xclbin_build(const lpo_xclbin_build_options *o, lpo_error *err) {
    build *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TMPDIR");
    lpo_status st;
    if (!b || !(b->arena = lpo_arena_create(64 << 10))) {
        free(b);
        return lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    b->o = o;
    b->err = err;
    if ((st = read_options(b)) || (st = lpo_card_dir(b->include, sizeof b->include - 16, err))) goto out;
    strcat(b->include, "/include");
    snprintf(b->dir, sizeof b->dir, "%s/leanpo-xclbin-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(b->dir)) {
        st = lpo_fail(err, LPO_EIO, "%s: %s", b->dir, strerror(errno));
        goto out;
    }
    st = build_in_dir(b);
    lpo_dir_remove(b->dir, NULL);
out:
    lpo_arena_destroy(b->arena);
    free(b);
    return st;
}
