/* SPDX-License-Identifier: Apache-2.0 */
/* main.c -- hls-check [-I DIR]... [-D NAME]... [FILE...]: may these kernels go to Vitis? Without files: every
 * kernel of hls/ below the current folder. The files given are one kernel: its C core and, if there is one,
 * its K_top.cpp.
 *
 * Each file is read by clang, as v++ would: with __SYNTHESIS__; a C file must be C11 and C++14 at once. What
 * clang accepts is then held against the rules of docs/hls.md. Exit status: 0 clean, 1 violations, 2 wrong
 * use, 77 no clang. */
#include "check.h"
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FLAGS = 64, NO_CLANG = 77 };

static int n_reports;
static json_t *told;
static const char *flags[MAX_FLAGS] = {"-w", "-D__SYNTHESIS__", "-DNDEBUG"};
static int n_flags = 3;

void check_report(const char *file, int line, const char *rule, const char *what, const char *mend) {
    char all[2048];
    snprintf(all, sizeof all, "%s:%d: %s: %s: %s", strncmp(file, "./", 2) ? file : file + 2, line, rule, what,
             mend);
    if (json_object_get(told, all)) return;
    json_object_set_new(told, all, json_true());
    puts(all);
    n_reports++;
}
void check_report_at(const json_t *node, const char *rule, const char *what, const char *mend) {
    check_report(check_text(node, "_file"), (int)json_integer_value(json_object_get(node, "_line")), rule,
                 what, mend);
}

/* One run of clang: its output comes through `out`, its complaints lie in `errors` once it ended. */
typedef struct run {
    FILE *out, *errors;
    pid_t pid;
} run;

static run start(const char *file, const char *const *extra) {
    const char *argv[MAX_FLAGS + 16] = {getenv("CLANG") ? getenv("CLANG") : "clang"};
    run r = {.errors = tmpfile()};
    int n = 1, to[2];
    for (int i = 0; extra[i]; i++) argv[n++] = extra[i];
    for (int i = 0; i < n_flags; i++) argv[n++] = flags[i];
    argv[n++] = file;
    if (!r.errors || pipe(to) != 0 || (r.pid = fork()) < 0) {
        perror("hls-check: cannot start clang");
        exit(2);
    }
    if (r.pid == 0) {
        close(to[0]);
        dup2(to[1], STDOUT_FILENO);
        dup2(fileno(r.errors), STDERR_FILENO);
        execvp(argv[0], (char *const *)argv);
        _exit(NO_CLANG);
    }
    close(to[1]);
    r.out = fdopen(to[0], "r");
    return r;
}

/* True when clang found no error; its own words become violations otherwise, unless language is NULL. */
static bool finish(run *r, const char *language) {
    char line[2048], path[CHECK_MAX_PATH], text[1024];
    int status, at, before = n_reports;
    while (fgetc(r->out) != EOF) {
    }
    fclose(r->out);
    if (waitpid(r->pid, &status, 0) != r->pid || (WIFEXITED(status) && WEXITSTATUS(status) == NO_CLANG)) {
        fprintf(stderr,
                "hls-check: clang is not installed, so nothing was checked: scripts/packages install test\n");
        exit(NO_CLANG);
    }
    rewind(r->errors);
    while (fgets(line, sizeof line, r->errors))
        if (sscanf(line, "%1023[^:]:%d:%*d: %*[a-z ]: %1023[^\n]", path, &at, text) == 3 &&
            strstr(line, "error: ") && language)
            check_report(path, at, "compile", language, text);
    if (n_reports == before && status != 0 && language) {
        rewind(r->errors);
        if (!fgets(line, sizeof line, r->errors)) snprintf(line, sizeof line, "clang failed");
        line[strcspn(line, "\n")] = 0;
        check_report("clang", 0, "compile", language, line);
    }
    fclose(r->errors);
    return status == 0 && n_reports == before;
}

/* Reads one file: its tree, then its pragmas. A C file is also tried as C++. */
static bool add_unit(check_program *p, const char *file) {
    static const char *const tree_c[] = {"-xc",     "-std=c11",       "-fsyntax-only",
                                         "-Xclang", "-ast-dump=json", NULL};
    static const char *const tree_cxx[] = {"-xc++",   "-std=c++14",     "-fsyntax-only",
                                           "-Xclang", "-ast-dump=json", NULL};
    static const char *const text_c[] = {"-xc", "-std=c11", "-E", NULL};
    static const char *const text_cxx[] = {"-xc++", "-std=c++14", "-E", NULL};
    static const char *const syntax_cxx[] = {"-xc++", "-std=c++14", "-fsyntax-only", NULL};
    size_t n = strlen(file);
    bool is_c = n > 2 && strcmp(file + n - 2, ".c") == 0;
    run tree = start(file, is_c ? tree_c : tree_cxx), text = start(file, is_c ? text_c : text_cxx), cxx = {0};
    if (is_c) cxx = start(file, syntax_cxx);
    json_t *root = check_ast_load(tree.out);
    check_pragmas_load(p, text.out);
    bool is_valid = finish(&tree, is_c ? "not C11" : "not C++14") && root;
    if (is_c) is_valid = finish(&cxx, "not C++14") && is_valid;
    is_valid = finish(&text, NULL) && is_valid;
    if (root) p->units[p->n_units++] = root;
    if (is_valid) check_ast_functions(p, p->n_units - 1);
    return is_valid;
}

static void check_files(char *const *files, int n) {
    if (n > CHECK_MAX_UNITS) {
        fprintf(stderr, "hls-check: %d files, at most %d are one kernel\n", n, CHECK_MAX_UNITS);
        exit(2);
    }
    for (int i = 0; i < n; i++)
        if (access(files[i], R_OK) != 0) {
            fprintf(stderr, "hls-check: %s: %s\n", files[i], strerror(errno));
            exit(2);
        }
    check_program *p = calloc(1, sizeof *p);
    bool is_valid = p != NULL;
    for (int i = 0; i < n && is_valid; i++) is_valid = add_unit(p, files[i]);
    if (is_valid) {
        check_pragmas_place(p);
        check_effects(p);
        check_pragmas(p);
        check_constructs(p);
        check_interfaces(p);
        check_dataflow(p);
    }
    for (int i = 0; p && i < p->n_units; i++) json_decref(p->units[i]);
    free(p);
}

/* hls/K/ is one kernel; launch.c is the host's, and the folder of this program has no kernel. */
static void check_tree(void) {
    glob_t tops;
    if (glob("hls/*/*_top.cpp", 0, NULL, &tops) != 0) {
        fprintf(stderr, "hls-check: no hls/*/*_top.cpp here: run it in the source tree, or name files\n");
        exit(2);
    }
    for (size_t i = 0; i < tops.gl_pathc; i++) {
        char pattern[CHECK_MAX_PATH], *files[CHECK_MAX_UNITS];
        glob_t cores;
        int n = 0;
        files[n++] = tops.gl_pathv[i];
        snprintf(pattern, sizeof pattern, "%.*s*.c", (int)(strrchr(files[0], '/') + 1 - files[0]), files[0]);
        if (glob(pattern, 0, NULL, &cores) != 0) continue;
        for (size_t k = 0; k < cores.gl_pathc && n < CHECK_MAX_UNITS; k++)
            if (!strstr(cores.gl_pathv[k], "/launch.c")) files[n++] = cores.gl_pathv[k];
        check_files(files, n);
        globfree(&cores);
    }
    globfree(&tops);
}

int main(int argc, char **argv) {
    int i = 1;
    told = json_object();
    for (; i < argc && argv[i][0] == '-' && n_flags + 3 < MAX_FLAGS; i++) {
        bool takes = strcmp(argv[i], "-I") == 0 || strcmp(argv[i], "-D") == 0;
        if ((argv[i][1] != 'I' && argv[i][1] != 'D') || (takes && i + 1 == argc)) {
            fprintf(stderr, "usage: hls-check [-I DIR]... [-D NAME]... [FILE...]\n"
                            "The files are one kernel; without any, every kernel of hls/ below this folder "
                            "is checked.\n");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
        flags[n_flags++] = argv[i];
        if (takes) flags[n_flags++] = argv[++i];
    }
    flags[n_flags++] = "-I.";
    if (i == argc)
        check_tree();
    else
        check_files(argv + i, argc - i);
    json_decref(told);
    return n_reports ? 1 : 0;
}
