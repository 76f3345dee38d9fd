/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_xclbin.c -- xclbin info, check, pack, build. Options that may repeat (and -o, -I, as compilers spell
 * them) are taken out of the command line first; the rest is the ordinary table. */
#include "cli.h"
#include "leanpo/xclbin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_VALUES = 128 };

typedef struct list {
    const char *name, *brief; /* "--include", "-I" */
    const char *v[MAX_VALUES];
    int n;
} list;

/* Moves the values of l's option from argv to l. CLI_USAGE when one lacks its value. */
static int take(list *l, int *argc, char **argv) {
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        size_t n = strlen(l->name);
        const char *value = NULL;
        if (!strcmp(argv[i], l->name) || (l->brief && !strcmp(argv[i], l->brief))) {
            if (i + 1 == *argc) return cli_usage("xclbin", "%s needs a value", argv[i]);
            value = argv[++i];
        } else if (!strncmp(argv[i], l->name, n) && argv[i][n] == '=') {
            value = argv[i] + n + 1;
        } else if (l->brief && !strncmp(argv[i], l->brief, 2) && argv[i][1] != '-') {
            value = argv[i] + 2;
        } else {
            argv[kept++] = argv[i];
            continue;
        }
        if (l->n == MAX_VALUES) return cli_usage("xclbin", "more than %d times %s", MAX_VALUES, l->name);
        l->v[l->n++] = value;
    }
    *argc = kept;
    return CLI_OK;
}

/* Text of a foreign file as a JSON string: bytes that are not printable ASCII become '?'. */
static json_t *text(const char *s) {
    char clean[160];
    size_t n = 0;
    for (; *s && n + 1 < sizeof clean; s++) clean[n++] = *s >= ' ' && *s < 127 ? *s : '?';
    clean[n] = 0;
    return json_string(clean);
}

static json_t *kind(const lpo_xclbin_section *s) {
    const char *name = lpo_xclbin_kind_name(s->kind);
    return name ? json_string(name) : json_integer(s->kind);
}

static json_t *describe(const lpo_xclbin *x) {
    json_t *sections = json_array(), *memories = json_array(), *ips = json_array(), *clocks = json_array(),
           *kernels = json_array(), *connections = json_array();
    for (int i = 0; i < x->n_sections; i++)
        json_array_append_new(sections, json_pack("{so so sI sI}", "kind", kind(&x->sections[i]), "name",
                                                  text(x->sections[i].name), "offset",
                                                  (json_int_t)x->sections[i].offset, "bytes",
                                                  (json_int_t)x->sections[i].size_bytes));
    for (int i = 0; i < x->n_memories; i++)
        json_array_append_new(memories, json_pack("{so si sb sI sI}", "tag", text(x->memories[i].tag), "type",
                                                  x->memories[i].type, "used", x->memories[i].used, "kib",
                                                  (json_int_t)x->memories[i].size_kib, "base",
                                                  (json_int_t)x->memories[i].base));
    for (int i = 0; i < x->n_ips; i++)
        json_array_append_new(ips, json_pack("{so si sI}", "name", text(x->ips[i].name), "type",
                                             (int)x->ips[i].type, "base", (json_int_t)x->ips[i].base));
    for (int i = 0; i < x->n_connections; i++)
        json_array_append_new(connections,
                              json_pack("{si si si}", "arg", x->connections[i].arg, "ip",
                                        x->connections[i].ip, "memory", x->connections[i].memory));
    for (int i = 0; i < x->n_clocks; i++)
        json_array_append_new(
            clocks, json_pack("{so si}", "name", text(x->clocks[i].name), "mhz", (int)x->clocks[i].mhz));
    for (int i = 0; i < x->n_kernels; i++) {
        const lpo_xclbin_kernel *k = &x->kernels[i];
        json_t *args = json_array();
        for (int a = 0; a < k->n_args; a++)
            json_array_append_new(
                args, json_pack("{so so si sI sI}", "name", text(k->args[a].name), "type",
                                text(k->args[a].type), "qualifier", (int)k->args[a].qualifier, "size",
                                (json_int_t)k->args[a].size, "offset", (json_int_t)k->args[a].offset));
        json_array_append_new(kernels, json_pack("{so si so}", "name", text(k->name), "instances",
                                                 k->n_instances, "args", args));
    }
    return json_pack("{ss so ss s[iii] sI si so so so so so so}", "mode", lpo_xclbin_mode_name(x->mode),
                     "platform", text(x->platform), "uuid", x->uuid, "version", (int)x->version[0],
                     (int)x->version[1], (int)x->version[2], "bytes", (json_int_t)x->size_bytes,
                     "signature_bytes", x->signature_bytes, "sections", sections, "memories", memories, "ips",
                     ips, "connections", connections, "clocks", clocks, "kernels", kernels);
}

/* The same, to be read: one line per thing. */
static void print(const char *path, const json_t *d) {
    size_t i, a;
    const json_t *e, *g;
    printf("%s: %s for %s, uuid %s, %" JSON_INTEGER_FORMAT " bytes\n", path,
           json_string_value(json_object_get(d, "mode")), json_string_value(json_object_get(d, "platform")),
           json_string_value(json_object_get(d, "uuid")), json_integer_value(json_object_get(d, "bytes")));
    json_array_foreach(json_object_get(d, "sections"), i, e) {
        const json_t *k = json_object_get(e, "kind");
        char number[24];
        snprintf(number, sizeof number, "kind %d", (int)json_integer_value(k));
        printf("section  %-22s %10" JSON_INTEGER_FORMAT " bytes at %" JSON_INTEGER_FORMAT "\n",
               json_is_string(k) ? json_string_value(k) : number,
               json_integer_value(json_object_get(e, "bytes")),
               json_integer_value(json_object_get(e, "offset")));
    }
    json_array_foreach(json_object_get(d, "memories"), i, e) if (json_is_true(json_object_get(e, "used")))
        printf("memory   %-3zu %-18s %10.1f MiB at 0x%llx\n", i, json_string_value(json_object_get(e, "tag")),
               (double)json_integer_value(json_object_get(e, "kib")) / 1024,
               (unsigned long long)json_integer_value(json_object_get(e, "base")));
    json_array_foreach(json_object_get(d, "clocks"), i, e)
        printf("clock    %-22s %10d MHz\n", json_string_value(json_object_get(e, "name")),
               (int)json_integer_value(json_object_get(e, "mhz")));
    json_array_foreach(json_object_get(d, "kernels"), i, e) {
        printf("kernel   %s, %d compute units\n", json_string_value(json_object_get(e, "name")),
               (int)json_integer_value(json_object_get(e, "instances")));
        json_array_foreach(json_object_get(e, "args"), a, g) printf(
            "         0x%02x %s %s\n", (unsigned)json_integer_value(json_object_get(g, "offset")),
            json_string_value(json_object_get(g, "type")), json_string_value(json_object_get(g, "name")));
    }
}

static int info_or_check(int check, int argc, char **argv) {
    int json = 0, n_rest, rc;
    const cli_option opts[] = {{"json", CLI_FLAG, &json, NULL, "as JSON"}, {0}};
    lpo_error err;
    lpo_xclbin *x = NULL;
    if ((rc = cli_parse("xclbin", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest != 1) return cli_usage("xclbin", "%s takes one file", check ? "check" : "info");
    lpo_status st = lpo_xclbin_open(&x, argv[1], &err);
    if (!st && check && x->mode == LPO_XCLBIN_SW_EMU) st = lpo_xclbin_check_card(x, argv[1], &err);
    if (st) return lpo_xclbin_close(x), cli_fail("xclbin", &err);
    json_t *d = describe(x);
    if (json) {
        rc = cli_print_json(d);
    } else {
        if (check)
            printf("%s: sound, %s, %d sections, %d compute units\n", argv[1], lpo_xclbin_mode_name(x->mode),
                   x->n_sections, x->n_ips);
        else
            print(argv[1], d);
        json_decref(d);
    }
    lpo_xclbin_close(x);
    return rc;
}

static const char repeat[] = "(may be given again)";

static int pack(int argc, char **argv) {
    list section = {.name = "--section"}, out = {.name = "--out", .brief = "-o"};
    const char *platform = "leanpo_card_emulation_1", *mode = "sw_emu", *unused = NULL;
    int n_rest, rc, wanted = -1;
    const cli_option opts[] = {
        {"section", CLI_STR, &unused, "KIND=FILE", "one section, in order (may be given again)"},
        {"platform", CLI_STR, &platform, "NAME", "platform the container says it is for"},
        {"mode", CLI_STR, &mode, "MODE", "flat, hw_emu or sw_emu"},
        {"out", CLI_STR, &unused, "F.xclbin", "file to write (also -o)"},
        {0}};
    lpo_xclbin_part parts[MAX_VALUES] = {{0}};
    lpo_error err = {0};
    if ((rc = take(&section, &argc, argv)) || (rc = take(&out, &argc, argv)) ||
        (rc = cli_parse("xclbin", opts, argc, argv, &n_rest, NULL, NULL)))
        return rc;
    for (unsigned m = 0; m < 6; m++)
        if (!strcmp(mode, lpo_xclbin_mode_name(m))) wanted = (int)m;
    if (n_rest || out.n != 1 || !section.n)
        return cli_usage("xclbin", "pack --section KIND=FILE ... -o F.xclbin");
    if (wanted < 0) return cli_usage("xclbin", "unknown mode %s", mode);
    for (int i = 0; i < section.n && !rc; i++) {
        const char *eq = strchr(section.v[i], '=');
        char name[40];
        snprintf(name, sizeof name, "%.*s", eq ? (int)(eq - section.v[i]) : 0, section.v[i]);
        int k = lpo_xclbin_kind_of(name);
        if (k < 0) {
            rc = cli_usage("xclbin", "--section %s: KIND=FILE, KIND as `leanpo xclbin info` prints it",
                           section.v[i]);
            break;
        }
        FILE *f = fopen(eq + 1, "rb");
        long size = -1;
        if (f && !fseek(f, 0, SEEK_END)) size = ftell(f);
        void *data = size >= 0 ? malloc((size_t)size + 1) : NULL;
        if (f) rewind(f);
        parts[i] = (lpo_xclbin_part){(uint32_t)k, data, (size_t)size};
        if (!data || fread(data, 1, (size_t)size, f) != (size_t)size) {
            lpo_fail(&err, LPO_EIO, "%s: cannot be read", eq + 1);
            rc = cli_fail("xclbin", &err);
        }
        if (f) fclose(f);
    }
    if (!rc && lpo_xclbin_write(out.v[0], (unsigned)wanted, platform, parts, section.n, &err))
        rc = cli_fail("xclbin", &err);
    for (int i = 0; i < section.n; i++) free((void *)parts[i].data);
    return rc;
}

static int build(int argc, char **argv) {
    list kernel = {.name = "--kernel"}, bank = {.name = "--bank"}, cus = {.name = "--cus"},
         include = {.name = "--include", .brief = "-I"}, out = {.name = "--out", .brief = "-o"};
    lpo_xclbin_build_options o = lpo_xclbin_build_default();
    const char *unused = NULL;
    int n_rest, rc;
    const cli_option opts[] = {
        {"kernel", CLI_STR, &unused, "'SIGNATURE'",
         "void vadd(const int *a, int *out, int n) (may be given again)"},
        {"cus", CLI_STR, &unused, "[K=]N",
         "compute units of each kernel, or of kernel K (1; may be given again)"},
        {"bank", CLI_STR, &unused, "[K.]ARG=N", "memory bank of a pointer argument (0; may be given again)"},
        {"bank-mib", CLI_INT, &o.bank_mib, "N", "size of a bank (16384)"},
        {"include", CLI_STR, &unused, "DIR", "folder of headers (also -I; may be given again)"},
        {"bounded-fifo", CLI_FLAG, &o.bounded_fifo, NULL,
         "streams of their declared depth, DATAFLOW processes at once: finds deadlocks"},
        {"cflags", CLI_STR, &o.cflags, "'FLAGS'", "more compiler flags"},
        {"out", CLI_STR, &unused, "F.xclbin", "file to write (also -o)"},
        {0}};
    lpo_error err;
    if ((rc = take(&kernel, &argc, argv)) || (rc = take(&bank, &argc, argv)) ||
        (rc = take(&include, &argc, argv)) || (rc = take(&out, &argc, argv)) ||
        (rc = take(&cus, &argc, argv)) || (rc = cli_parse("xclbin", opts, argc, argv, &n_rest, NULL, NULL)))
        return rc;
    if (n_rest < 1 || !kernel.n || out.n != 1)
        return cli_usage("xclbin", "build SOURCE... --kernel 'void NAME(...)' %s -o F.xclbin", repeat);
    for (int i = 0, n = cus.n; i < n; i++) /* a bare number is for all kernels */
        if (strchr(cus.v[i], '='))
            cus.v[o.n_kernel_cus++] = cus.v[i];
        else
            o.cus = atoi(cus.v[i]);
    o.kernel_cus = cus.v;
    o.sources = (const char *const *)(argv + 1);
    o.n_sources = n_rest;
    o.kernels = kernel.v;
    o.n_kernels = kernel.n;
    o.banks = bank.v;
    o.n_banks = bank.n;
    o.include_dirs = include.v;
    o.n_include_dirs = include.n;
    o.out = out.v[0];
    return lpo_xclbin_build(&o, &err) ? cli_fail("xclbin", &err) : CLI_OK;
}

int cli_print_xrt_env(void) {
    lpo_card_variable v[LPO_CARD_VARIABLES];
    lpo_error err = {0};
    if (lpo_card_environment(v, &err)) return cli_fail("devices", &err);
    for (int i = 0; i < LPO_CARD_VARIABLES; i++) {
        printf(v[i].replaces ? "export %s='" : "export %s=\"${%s:-", v[i].name, v[i].name);
        for (const char *c = v[i].value; *c; c++)
            fputs(*c == '\'' && v[i].replaces ? "'\\''" : (char[]){*c, 0}, stdout);
        puts(v[i].replaces ? "'" : "}\"");
    }
    return CLI_OK;
}

int cmd_xclbin(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "info") || !strcmp(what, "check"))
        return info_or_check(what[0] == 'c', argc - 1, argv + 1);
    if (!strcmp(what, "pack")) return pack(argc - 1, argv + 1);
    if (!strcmp(what, "build")) return build(argc - 1, argv + 1);
    if (!strcmp(what, "--help") || !strcmp(what, "-h")) {
        puts("leanpo xclbin info F.xclbin [--json]    what a container holds, any platform\n"
             "leanpo xclbin check F.xclbin            every offset and length; exit 1 and the place when "
             "damaged\n"
             "leanpo xclbin pack --section K=F ... -o F.xclbin\n"
             "leanpo xclbin build SOURCE... --kernel 'void NAME(...)' [--cus [K=]N] [--bank ARG=N] [-I DIR] "
             "[--bounded-fifo] -o "
             "F.xclbin");
        return CLI_OK;
    }
    return cli_usage("xclbin", "info, check, pack or build (leanpo xclbin --help)");
}
