/* SPDX-License-Identifier: Apache-2.0 */
/* record.h -- the inside of a tape, for the files of this folder only.
 *
 * A tape is two growing arrays: values (typed tensors) and nodes (an op, its attributes, its value arguments
 * in the order of kernels/op.h). Values are written once, by one node, except parameter gradients and
 * externs. A reshape is a value whose `root` is another value: storage, gradient and recomputation belong to
 * the root.
 *
 * Planning turns values into storages (bytes on one device over an interval of nodes) and nodes into items (a
 * step with its buffers resolved, or a copy). Arrays keep their memory over lpo_tape_reset: a steady batch
 * allocates nothing. */
#ifndef LPO_GRAPH_RECORD_H
#define LPO_GRAPH_RECORD_H
#include "base/arena.h"
#include "graph/tape.h"

enum { LPO_MAX_DEVICES = 8 };

typedef struct lpo_type {
    int32_t dtype, ndim; /* dtype -1: an absent optional argument */
    int64_t shape[LPO_MAX_DIMS];
} lpo_type;

typedef enum lpo_val_kind {
    LPO_VAL_TEMP,   /* written by a node, lives in an arena */
    LPO_VAL_INPUT,  /* written by the host, lives in an arena to the end of the tape */
    LPO_VAL_PARAM,  /* a parameter's data */
    LPO_VAL_GRAD,   /* a parameter's gradient, accumulated into */
    LPO_VAL_EXTERN, /* the caller's buffer */
} lpo_val_kind;

typedef struct lpo_value {
    lpo_type type;
    lpo_val_kind kind;
    lpo_val root;  /* itself, or the value whose storage it views */
    lpo_val grad;  /* root: the sum of what its users sent back so far; view: set at the end of backward */
    lpo_val remat; /* root: its recomputed twin, or LPO_NONE */
    int32_t node;  /* root: the node that writes it, -1 = none */
    bool keep;     /* memory held to the end of the tape */
    bool hidden;   /* an op's by-product (lse, mean): never read by the host */
    bool needs_grad, want_grad, seg_keep;
    lpo_param *param;   /* PARAM, GRAD */
    lpo_buffer *buffer; /* PARAM, GRAD, EXTERN */
    size_t offset_bytes;
    void *staged;                /* INPUT: the bytes to upload when planned, or NULL */
    int32_t at[LPO_MAX_DEVICES]; /* root, planned: storage on each device, -1 = none */
    int32_t home;                /* root, planned: the storage its writer fills, -1 = unused or fixed */
} lpo_value;

typedef struct lpo_node {
    lpo_op op;
    lpo_attrs attrs;
    lpo_val arg[LPO_MAX_ARGS];
    int32_t segment; /* 0 = none */
    int32_t device;  /* planned */
} lpo_node;

typedef struct lpo_storage {
    int32_t device, first, last; /* nodes, inclusive, between which the value stands */
    int32_t end;    /* the last node that needs the bytes: behind last when another storage took them over */
    int32_t merged; /* the storage whose bytes it takes over, -1 = has its own */
    int32_t next;   /* list of storages whose bytes end at one node */
    size_t size_bytes, offset_bytes;
} lpo_storage;

/* Bytes on a device: a buffer of its own, or (buffer NULL) a storage until the arenas exist. */
typedef struct lpo_place {
    lpo_buffer *buffer;
    size_t offset_bytes;
    int32_t storage;
} lpo_place;

typedef struct lpo_item {
    int32_t device; /* of the step; -1 = a copy */
    int32_t node;
    lpo_place from, to; /* copy */
    size_t size_bytes;  /* copy */
    lpo_step step;
    lpo_place arg[LPO_MAX_ARGS];
} lpo_item;

typedef struct lpo_hole {
    size_t offset_bytes, size_bytes;
} lpo_hole;

struct lpo_tape {
    lpo_placement placement;
    bool host_memory[LPO_MAX_DEVICES];
    lpo_error err; /* sticky; code LPO_OK = none */

    lpo_value *values;
    lpo_node *nodes;
    int32_t n_values, cap_values, n_nodes, cap_nodes;
    lpo_val *params; /* the PARAM values, to find a parameter's handle again */
    int32_t n_params, cap_params;
    int32_t segment, n_segments; /* open segment or 0 */
    bool backward_done;
    lpo_arena *staging;

    /* plan */
    bool planned;
    lpo_storage *storages;
    lpo_item *items;
    int32_t *item_at; /* n_nodes + 1: first item of each node */
    int32_t *ends_at; /* n_nodes + 1: list heads of storages by last node */
    int32_t n_storages, cap_storages, n_items, cap_items, cap_item_at, cap_ends_at;
    lpo_hole *holes[LPO_MAX_DEVICES];
    int32_t n_holes[LPO_MAX_DEVICES], cap_holes[LPO_MAX_DEVICES];
    size_t top_bytes[LPO_MAX_DEVICES];
    lpo_buffer *arena[LPO_MAX_DEVICES];
    void *bounce; /* for copies between two devices neither of which is host memory */
    size_t bounce_bytes;

    lpo_tape_trace_fn *trace;
    void *trace_user;
};

/* What the tape knows of an op. */
typedef struct lpo_rule {
    /* Check the inputs' types in a[], fill the outputs'. NULL, or what is wrong. NULL function: recorded by
     * backward only. */
    const char *(*shape)(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *attrs);
    /* Record the gradient of arg 0 flowing back as dy. n is the recorded node (a copy: recording moves the
     * array). */
    void (*backward)(lpo_tape *t, const lpo_node *n, lpo_val dy);
    double (*flops)(const lpo_type a[LPO_MAX_ARGS],
                    const lpo_attrs *attrs); /* NULL: one per output element */
    unsigned optional;                       /* arguments that may be absent */
    unsigned diff;                           /* inputs through which a gradient flows */
    int alias_in; /* highest input whose storage output 0 may take over, trying 1 first; 0 = none */
} lpo_rule;
extern const lpo_rule lpo_rules[LPO_N_OPS];

typedef struct lpo_op_form {
    const char *name;
    int n_args;
    unsigned out, inout;
} lpo_op_form;
extern const lpo_op_form lpo_op_forms[LPO_N_OPS];

/* tape.c */
bool lpo_tape_grow(lpo_tape *t, void *array_ptr, int32_t *cap, int32_t need, size_t item_bytes);
void lpo_tape_fail(lpo_tape *t, lpo_status code, const char *fmt, ...) LPO_PRINTF(3, 4);
size_t lpo_type_bytes(const lpo_type *t);
int64_t lpo_type_count(const lpo_type *t);
/* "linear(-, f32[4,8], bf16[8,8])": the op with the types of its arguments. */
void lpo_describe(char *out, size_t size_bytes, const lpo_tape *t, lpo_op op, const lpo_val *arg);
lpo_val lpo_value_add(lpo_tape *t, lpo_val_kind kind, const lpo_type *type);
lpo_val lpo_view(lpo_tape *t, lpo_val x, const lpo_type *type); /* x itself when the type is the same */
int32_t lpo_emit(lpo_tape *t, lpo_op op, const lpo_attrs *attrs,
                 const lpo_val *arg); /* complete arguments; node or -1 */

/* backward.c, for the rules. LPO_NONE where no gradient is needed. */
bool lpo_needs(const lpo_tape *t, lpo_val v);
lpo_val lpo_temp_like(lpo_tape *t, lpo_val v);   /* a new temporary of v's type */
lpo_val lpo_saved(lpo_tape *t, lpo_val v);       /* v, or its recomputed twin when its segment was dropped */
lpo_val lpo_weight_grad(lpo_tape *t, lpo_val v); /* where the gradient of parameter v accumulates */
void lpo_contribute(lpo_tape *t, lpo_val v, lpo_val g); /* grad(v) += g */

/* layout.c: give every storage its offset; plan.c calls it between placing and resolving. */
bool lpo_layout(lpo_tape *t);
#endif
