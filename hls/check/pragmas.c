/* SPDX-License-Identifier: Apache-2.0 */
/* pragmas.c -- the pragmas of a program: read, put into their function and loop, held against the table of
 * those that the tools know. A pragma the tools do not know is skipped by them with a warning, so a misspelt
 * one costs a factor of speed in silence: here it is an error. */
#include "check.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What an option takes: nothing, an integer, a name of the program, or one of the words behind the colon. A
 * capital letter makes the option required: N name, I integer. Every directive with `variable` wants it
 * declared where the pragma stands. */
static const char *const directives[][2] = {
    {"INTERFACE",
     "mode:m_axi,s_axilite,axis,ap_none,ap_memory,ap_ctrl_hs,ap_ctrl_chain,ap_ctrl_none m_axi s_axilite axis "
     "ap_none "
     "ap_memory ap_ctrl_hs ap_ctrl_chain ap_ctrl_none port=N bundle=n offset:slave,off,direct depth=i "
     "latency=i "
     "num_read_outstanding=i num_write_outstanding=i max_read_burst_length=i max_write_burst_length=i "
     "max_widen_bitwidth=i register name=n"},
    {"PIPELINE", "II=i off rewind style:stp,frp,flp"},
    {"UNROLL", "factor=i off skip_exit_check"},
    {"LOOP_TRIPCOUNT", "min=i max=i avg=i"},
    {"LOOP_FLATTEN", "off"},
    {"LOOP_MERGE", "force"},
    {"DATAFLOW", "disable_start_propagation"},
    {"ARRAY_PARTITION", "variable=N type:complete,cyclic,block complete cyclic block factor=i dim=i off"},
    {"ARRAY_RESHAPE", "variable=N type:complete,cyclic,block complete cyclic block factor=i dim=i object"},
    {"BIND_STORAGE", "variable=N type:fifo,ram_1p,ram_1wnr,ram_2p,ram_s2p,ram_t2p,rom_1p,rom_2p,rom_np "
                     "impl:auto,memory,bram,bram_ecc,lutram,uram,uram_ecc,srl latency=i"},
    {"BIND_OP", "variable=N op=n impl=n latency=i"},
    {"DEPENDENCE", "variable=n class:array,pointer array pointer type:inter,intra inter intra "
                   "direction:raw,war,waw RAW WAR WAW "
                   "distance=i dependent:true,false true false"},
    {"STREAM", "variable=N depth=i type:fifo,pipo,shared,unsync off"},
    {"INLINE", "off recursive"},
    {"ALLOCATION", "function operation instances=n limit=i"},
    {"FUNCTION_INSTANTIATE", "variable=N"},
    {"LATENCY", "min=i max=i"},
    {"EXPRESSION_BALANCE", "off"},
    {"OCCURRENCE", "cycle=i off"},
    {"STABLE", "variable=N"},
    {"RESET", "variable=N off"},
    {"AGGREGATE", "variable=N compact:bit,byte,none,auto"},
    {"DISAGGREGATE", "variable=N"},
    {"PROTOCOL", "floating fixed"},
};

/* The next word of a pragma: an identifier or number, or a single character. */
static const char *word(const char *s, char out[CHECK_MAX_WORD]) {
    size_t n = 0;
    while (isspace((unsigned char)*s)) s++;
    if (*s && !isalnum((unsigned char)*s) && *s != '_')
        out[n++] = *s++;
    else
        while ((isalnum((unsigned char)*s) || *s == '_') && n + 1 < CHECK_MAX_WORD) out[n++] = *s++;
    out[n] = 0;
    return s;
}

static void parse(check_pragma *g) {
    char w[CHECK_MAX_WORD];
    const char *s = word(g->text, w);
    if (strcasecmp(w, "HLS") != 0) return;
    s = word(s, w);
    for (size_t i = 0; w[i]; i++) g->directive[i] = (char)toupper((unsigned char)w[i]);
    for (s = word(s, w); *w; s = word(s, w)) {
        if ((!isalpha((unsigned char)*w) && *w != '_') || g->n_options == CHECK_MAX_OPTIONS) {
            g->malformed = true;
            return;
        }
        check_option *o = &g->options[g->n_options++];
        memcpy(o->name, w, sizeof w);
        const char *after = word(s, w);
        if (*w != '=') continue;
        s = word(after, o->value);
        if (!isalnum((unsigned char)*o->value) && *o->value != '_') g->malformed = true;
    }
}

/* `clang -E` keeps pragmas and says with `# line "file" flags` where it is; flag 3 is a system header. */
void check_pragmas_load(check_program *p, FILE *in) {
    char *text = NULL, file[CHECK_MAX_PATH] = "";
    size_t size = 0;
    int line = 0, flags[3];
    while (getline(&text, &size, in) > 0) {
        char path[CHECK_MAX_PATH], *s = text + strspn(text, " \t");
        int at, n = sscanf(text, "# %d \"%1023[^\"]\" %d %d %d", &at, path, &flags[0], &flags[1], &flags[2]);
        if (n >= 2) {
            line = at;
            memcpy(file, path, sizeof file);
            continue;
        }
        if (strncmp(s, "#pragma", 7) == 0 && *file != '<' && !check_is_system(file) &&
            p->n_pragmas < CHECK_MAX_PRAGMAS) {
            bool again = false; /* a header comes once with every file that includes it */
            for (int i = 0; i < p->n_pragmas; i++)
                again |= p->pragmas[i].line == line && strcmp(p->pragmas[i].file, file) == 0;
            if (!again) {
                check_pragma *g = &p->pragmas[p->n_pragmas++];
                memset(g, 0, sizeof *g);
                memcpy(g->file, file, sizeof file);
                g->line = line;
                snprintf(g->text, sizeof g->text, "%.*s", (int)strcspn(s + 7, "\n"), s + 7);
                parse(g);
            }
        }
        line++;
    }
    free(text);
}

static bool holds(const json_t *n, int line) {
    return json_integer_value(json_object_get(n, "_begin")) <= line &&
           line <= json_integer_value(json_object_get(n, "_end"));
}
static void place(check_pragma *g, json_t *n, json_t *owner) {
    json_t *child;
    size_t i;
    if (check_is(n, "CompoundStmt") && holds(n, g->line)) {
        g->compound = n;
        g->owner = owner;
    }
    json_array_foreach(json_object_get(n, "inner"), i,
                       child) if (json_is_object(child) && holds(child, g->line))
        place(g, child, check_is_loop(n) && child == check_loop_body(n) ? n : NULL);
}
void check_pragmas_place(check_program *p) {
    for (int k = 0; k < p->n_pragmas; k++) {
        check_pragma *g = &p->pragmas[k];
        for (int i = 0; i < p->n_fns && !g->fn; i++) {
            check_fn *f = &p->fns[i];
            if (strcmp(f->file, g->file) == 0 && f->first_line <= g->line && g->line <= f->last_line)
                g->fn = f;
        }
        if (g->fn) place(g, g->fn->body, NULL);
    }
}

const char *check_option_value(const check_pragma *g, const char *name) {
    for (int i = 0; i < g->n_options; i++)
        if (strcasecmp(g->options[i].name, name) == 0) return g->options[i].value;
    return NULL;
}

static void complain(const check_pragma *g, const char *rule, const char *what, const char *mend) {
    check_report(g->file, g->line, rule, what, mend);
}

/* Is `name` in the comma-separated list of n characters? */
static bool listed(const char *list, size_t n, const char *name) {
    size_t len = strlen(name);
    for (const char *s = list, *end = list + n; s < end; s++) {
        size_t k = strcspn(s, ", ");
        if (k == len && strncasecmp(s, name, len) == 0) return true;
        s += k;
    }
    return false;
}

static void check_option_of(const check_pragma *g, const check_option *o, const char *table) {
    char what[256];
    size_t len = strlen(o->name);
    bool is_number = *o->value && strspn(o->value, "0123456789") == strlen(o->value);
    for (const char *s = table; *s; s += strspn(s, " ")) {
        size_t item = strcspn(s, " "), name = strcspn(s, " =:");
        if (name != len || strncasecmp(s, o->name, len) != 0) {
            s += item;
            continue;
        }
        char kind = s[name] == '=' ? (char)tolower((unsigned char)s[name + 1]) : s[name] == ':' ? ':' : 0;
        if (kind == 'i' && !is_number) {
            snprintf(what, sizeof what, "%s = %s is not an integer constant", o->name,
                     *o->value ? o->value : "(nothing)");
            complain(g, "option-value", what, "write the number: the tools do not expand names here");
        } else if (kind == 'n' && (!*o->value || is_number)) {
            snprintf(what, sizeof what, "%s wants a name", o->name);
            complain(g, "option-value", what, "name a variable, port or bundle");
        } else if (kind == ':' && !listed(s + name + 1, item - name - 1, o->value)) {
            snprintf(what, sizeof what, "%s = %s is not one of %.*s", o->name, o->value,
                     (int)(item - name - 1), s + name + 1);
            complain(g, "option-value", what, "take one of these");
        } else if (kind == 0 && *o->value) {
            snprintf(what, sizeof what, "%s takes no value", o->name);
            complain(g, "option-value", what, "leave the value out");
        }
        return;
    }
    snprintf(what, sizeof what, "%s has no option \"%s\"", g->directive, o->name);
    complain(g, "option-unknown", what, "correct it: the tools would skip it with a warning");
}

static bool is_declared(const json_t *n, const char *name) {
    json_t *child;
    size_t i;
    if ((check_is(n, "VarDecl") || check_is(n, "ParmVarDecl")) && strcmp(check_text(n, "name"), name) == 0)
        return true;
    json_array_foreach(json_object_get(n, "inner"), i, child) if (is_declared(child, name)) return true;
    return false;
}

static void check_place_of(const check_pragma *g) {
    const char *const of_loops[] = {"UNROLL", "LOOP_TRIPCOUNT", "LOOP_FLATTEN", NULL};
    for (int i = 0; of_loops[i]; i++)
        if (strcmp(g->directive, of_loops[i]) == 0 && !g->owner)
            complain(g, "pragma-place", "a pragma of a loop outside a loop's braces",
                     "put it right behind the loop's opening brace");
}

static void check_one(const check_pragma *g) {
    const char *table = NULL, *variable = check_option_value(g, "variable");
    for (size_t i = 0; i < sizeof directives / sizeof *directives; i++)
        if (strcmp(g->directive, directives[i][0]) == 0) table = directives[i][1];
    if (!table) {
        complain(g, "pragma-unknown", g->text, "take it out, or write it as UG1399 spells it");
        return;
    }
    if (!g->fn) {
        complain(g, "pragma-place", "a pragma outside every function",
                 "move it into the function it is about");
        return;
    }
    if (g->malformed)
        complain(g, "option-value", "an option is not name = integer, name = word or a word",
                 "write the value out");
    for (int i = 0; i < g->n_options; i++) check_option_of(g, &g->options[i], table);
    for (const char *s = strchr(table, '='); s; s = strchr(s + 1, '=')) {
        char name[CHECK_MAX_WORD];
        const char *first = s;
        while (first > table && first[-1] != ' ') first--;
        snprintf(name, sizeof name, "%.*s", (int)(s - first), first);
        if (isupper((unsigned char)s[1]) && !check_option_value(g, name))
            complain(g, "option-missing", name, "state it");
    }
    if (variable && *variable && !is_declared(g->fn->decl, variable))
        complain(g, "variable", variable, "name a variable or parameter of this function");
    if (strcmp(g->directive, "DEPENDENCE") == 0 && !check_option_value(g, "true") &&
        !check_option_value(g, "false") && !check_option_value(g, "dependent"))
        complain(g, "dependence", "DEPENDENCE says neither true nor false",
                 "the default differs between versions: say which");
    if (strcmp(g->directive, "LOOP_TRIPCOUNT") == 0 && !check_option_value(g, "max"))
        complain(g, "tripcount", "LOOP_TRIPCOUNT without max", "state the largest trip count: max = N");
    check_place_of(g);
}

void check_pragmas(check_program *p) {
    for (int i = 0; i < p->n_pragmas; i++) check_one(&p->pragmas[i]);
}
