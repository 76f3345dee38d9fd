/* SPDX-License-Identifier: Apache-2.0 */
/* signature.c -- "void vadd(const int *a, ap_uint<512> *b, float scale)" to arguments.
 * No C parser is needed: a parameter with '*' or '[' is a pointer whatever it points to, and any other must
 * be one of the scalar types whose calling convention is known. Class types by value and streams are refused
 * with a way out. */
#include "xclbin/signature.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *spelling, *c_type, *xrt;
    unsigned size;
} scalars[] = {
    {"int", "int", "int", 4},
    {"signed", "int", "int", 4},
    {"signed int", "int", "int", 4},
    {"int32_t", "int", "int", 4},
    {"unsigned", "unsigned", "uint", 4},
    {"unsigned int", "unsigned", "uint", 4},
    {"uint32_t", "unsigned", "uint", 4},
    {"char", "char", "int", 4},
    {"signed char", "signed char", "int", 4},
    {"int8_t", "signed char", "int", 4},
    {"unsigned char", "unsigned char", "uint", 4},
    {"uint8_t", "unsigned char", "uint", 4},
    {"bool", "_Bool", "uint", 4},
    {"_Bool", "_Bool", "uint", 4},
    {"short", "short", "int", 4},
    {"int16_t", "short", "int", 4},
    {"unsigned short", "unsigned short", "uint", 4},
    {"uint16_t", "unsigned short", "uint", 4},
    {"float", "float", "float", 4},
    {"double", "double", "double", 8},
    {"long", "long", "long", 8},
    {"long int", "long", "long", 8},
    {"int64_t", "long", "long", 8},
    {"long long", "long long", "long", 8},
    {"long long int", "long long", "long", 8},
    {"unsigned long", "unsigned long", "ulong", 8},
    {"unsigned long int", "unsigned long", "ulong", 8},
    {"uint64_t", "unsigned long", "ulong", 8},
    {"size_t", "unsigned long", "ulong", 8},
    {"unsigned long long", "unsigned long long", "ulong", 8},
    {"unsigned long long int", "unsigned long long", "ulong", 8},
};

static int is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static int is_qualifier(const char *word, size_t n) {
    static const char *const q[] = {"const",      "volatile",     "restrict",
                                    "__restrict", "__restrict__", "register"};
    for (size_t i = 0; i < sizeof q / sizeof *q; i++)
        if (strlen(q[i]) == n && !memcmp(q[i], word, n)) return 1;
    return 0;
}

/* [from, to) without qualifiers, words joined by one space. Returns 0 when it does not fit. */
static int normalize(char *out, size_t size, const char *from, const char *to) {
    size_t n = 0;
    while (from < to) {
        if (isspace((unsigned char)*from)) {
            from++;
            continue;
        }
        const char *start = from++;
        if (is_word(*start))
            while (from < to && is_word(*from)) from++;
        size_t len = (size_t)(from - start);
        if (is_qualifier(start, len)) continue;
        int gap = n && is_word(out[n - 1]) && is_word(*start);
        if (n + len + gap + 1 > size) return 0;
        if (gap) out[n++] = ' ';
        memcpy(out + n, start, len);
        n += len;
    }
    out[n] = 0;
    return 1;
}

/* Does [from, to) say const before its first '*'? */
static int points_to_const(const char *from, const char *to) {
    while (from < to && *from != '*') {
        const char *start = from++;
        if (!is_word(*start)) continue;
        while (from < to && is_word(*from)) from++;
        if (from - start == 5 && !memcmp(start, "const", 5)) return 1;
    }
    return 0;
}

static lpo_status take_name(char *out, const char *end, const char *begin, const char **rest,
                            const char *text, lpo_error *err) {
    while (end > begin && isspace((unsigned char)end[-1])) end--;
    const char *stop = end;
    while (end > begin && is_word(end[-1])) end--;
    size_t n = (size_t)(stop - end);
    if (!n || n >= XB_NAME || isdigit((unsigned char)*end))
        return lpo_fail(
            err, LPO_EINVAL,
            "kernel signature \"%.200s\": a name of at most %d characters is missing before \"%.20s\"", text,
            XB_NAME - 1, stop);
    memcpy(out, end, n);
    out[n] = 0;
    *rest = end;
    return LPO_OK;
}

static lpo_status take_argument(xb_arg *a, const char *from, const char *to, const char *text,
                                lpo_error *err) {
    const char *bracket = memchr(from, '[', (size_t)(to - from)), *rest;
    lpo_status st = take_name(a->name, bracket ? bracket : to, from, &rest, text, err);
    if (st) return st;
    char type[XB_TYPE - sizeof "const "];
    if (!normalize(type, sizeof type - 1, from, rest) || !type[0])
        return lpo_fail(err, LPO_EINVAL,
                        "kernel signature \"%.200s\": argument %s has no type, or one too long", text,
                        a->name);
    if (strstr(type, "stream"))
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "kernel %.100s: argument %s is a stream; only streams inside a kernel are emulated",
                        text, a->name);
    if (bracket) strcat(type, "*");
    if (strchr(type, '&'))
        return lpo_fail(err, LPO_EUNSUPPORTED, "kernel %.100s: argument %s is a reference; pass a pointer",
                        text, a->name);
    size_t n = strlen(type);
    if (type[n - 1] == '*') {
        if (strchr(type, '*') != type + n - 1)
            return lpo_fail(err, LPO_EUNSUPPORTED,
                            "kernel %.100s: argument %s is a pointer to a pointer; a card has none", text,
                            a->name);
        a->pointer = 1;
        a->size = 8;
        snprintf(a->type, sizeof a->type, "%s%s", points_to_const(from, rest) ? "const " : "", type);
        return LPO_OK;
    }
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        if (!strcmp(type, scalars[i].spelling)) {
            a->size = scalars[i].size;
            snprintf(a->type, sizeof a->type, "%s", scalars[i].xrt);
            snprintf(a->c_type, sizeof a->c_type, "%s", scalars[i].c_type);
            return LPO_OK;
        }
    return lpo_fail(
        err, LPO_EUNSUPPORTED,
        "kernel %.100s: argument %s has type %s: scalars may be C integers, float, double, bool; wrap the "
        "kernel in one that takes those",
        text, a->name, type);
}

lpo_status xb_signature_parse(xb_kernel *out, const char *text, lpo_error *err) {
    *out = (xb_kernel){0};
    const char *open = strchr(text, '('), *close = strrchr(text, ')'), *rest;
    if (!open || !close || close < open)
        return lpo_fail(err, LPO_EINVAL, "kernel signature \"%.200s\": write it as void NAME(TYPE NAME, ...)",
                        text);
    lpo_status st = take_name(out->name, open, text, &rest, text, err);
    if (st) return st;
    char type[64];
    if (!normalize(type, sizeof type, text, rest) ||
        (strcmp(type, "void") && strcmp(type, "extern\"C\"void")))
        return lpo_fail(err, LPO_EINVAL, "kernel signature \"%.200s\": a kernel returns void", text);
    const char *p = open + 1;
    char only[8];
    if (!normalize(only, sizeof only, p, close) || (strcmp(only, "") && strcmp(only, "void"))) {
        unsigned offset = 0x10;
        while (p <= close) {
            const char *end = p;
            for (int depth = 0; end < close && (depth || *end != ','); end++) /* ap_fixed<16,8> *a */
                depth += (*end == '<') - (*end == '>');
            if (out->n_args == XB_MAX_ARGS)
                return lpo_fail(err, LPO_ELIMIT, "kernel %s: more than %d arguments", out->name, XB_MAX_ARGS);
            xb_arg *a = &out->args[out->n_args++];
            if ((st = take_argument(a, p, end, text, err))) return st;
            for (xb_arg *b = out->args; b < a; b++)
                if (!strcmp(a->name, b->name))
                    return lpo_fail(err, LPO_EINVAL, "kernel %s: two arguments are named %s", out->name,
                                    a->name);
            a->offset = offset;
            offset += a->size == 8 ? 12 : 8;
            p = end + 1;
        }
    }
    return LPO_OK;
}
