/* SPDX-License-Identifier: Apache-2.0 */
/* card.h -- the driver's state: cards, kernels on them, compute units, sets of buffers, jobs.
 *
 * A job takes a free set, whoever submits it fills and starts it, and the unit's own thread waits for it,
 * brings the results home and frees the set; so a submitter waits at most for the card, never for a
 * consumer.
 *
 * One lock guards which set a job has, the queues, and who is on a card. Anyone who touches a card's runs and
 * buffers is a user of the card (card_enter); a reset waits until it is alone (card_take). A reset leaves the
 * inputs of jobs under way in host memory, and their units' threads start them again. */
#ifndef LPO_DEVICE_FPGA_CARD_H
#define LPO_DEVICE_FPGA_CARD_H
#include "device/fpga/link.h"

#include <pthread.h>

enum { FPGA_SETS = 2 }; /* a unit: one runs, one is filled */

typedef struct fpga_set {
    const fpga_link *link; /* of buffers and run; NULL: it has none */
    void *run;
    lpo_fpga_job *job; /* NULL: free */
    uint64_t unsent;   /* inputs whose bytes the card does not have yet */
    fpga_buffer buffer[FPGA_MAX_ARGS];
    struct {
        const void *host;
        size_t size_bytes;
    } resident[FPGA_MAX_ARGS];
} fpga_set;

typedef struct fpga_unit {
    struct fpga_kernel *kernel;
    int index;
    bool has_thread;
    pthread_t thread;
    pthread_cond_t more;
    lpo_fpga_job *head, **tail; /* started, in order */
    fpga_set set[FPGA_SETS];
} fpga_unit;

typedef struct fpga_kernel {
    struct fpga_card *card;
    int id, n_units;
    const fpga_link *link;    /* where its jobs go now: the card's, or in process after it failed twice */
    bool retired;             /* does not use its card any more; under the lock */
    bool absent, absent_said; /* the container does not have it */
    fpga_unit *unit;
} fpga_kernel;

typedef struct fpga_card {
    lpo_fpga *fpga;
    const fpga_link *link;
    void *handle; /* NULL after a reset that failed */
    int index, users;
    unsigned generation; /* resets so far */
    bool taken;
    char name[128];
    fpga_kernel kernel[LPO_HLS_N_KERNELS];
} fpga_card;

struct lpo_fpga {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a set is free, a job is done, a card has fewer users */
    int n_cards, timeout_ms;
    unsigned
        verify_every; /* LEANPO_FPGA_VERIFY: every so many jobs are done here too and compared; 0: none */
    bool stopping;
    lpo_xclbin *container; /* NULL for csim */
    char *path;
    char name[200];
    lpo_fpga_stats stats[LPO_HLS_N_KERNELS];
    fpga_card card[FPGA_MAX_CARDS];
};

struct lpo_fpga_job {
    lpo_fpga_job *next;
    fpga_unit *unit;
    fpga_set *set;
    bool borrow, started, done;
    int tries;           /* attempts on the card that failed of themselves */
    unsigned generation; /* of the card at the last start */
    lpo_status status;
    lpo_error err;
    uint64_t used, resident; /* bits of pointer arguments */
    uint64_t bytes_up, bytes_down;
    size_t size_bytes[FPGA_MAX_ARGS];
    uint64_t args[]; /* lpo_hls_K_args as given */
};

static inline lpo_fpga *fpga_of(const fpga_unit *u) {
    return u->kernel->card->fpga;
}
static inline const lpo_hls_kernel *fpga_row(const fpga_unit *u) {
    return &lpo_hls_kernels[u->kernel->id];
}
/* What an input's buffer still holds of an earlier job: any thread may forget it. */
static inline const void *fpga_resident(const fpga_set *s, int a) {
    return __atomic_load_n(&s->resident[a].host, __ATOMIC_ACQUIRE);
}
static inline void fpga_set_resident(fpga_set *s, int a, const void *host) {
    __atomic_store_n(&s->resident[a].host, host, __ATOMIC_RELEASE);
}
/* Pointer argument a as the caller gave it. */
void *fpga_pointer(const lpo_fpga_job *j, int a);

/* set.c: all of them by a user of the card, or by who has taken it. */
/* Buffers and run for job j on the link its kernel uses now; bytes of inputs already there are kept. */
lpo_status fpga_set_place(fpga_set *s, const lpo_fpga_job *j, lpo_error *err);
/* The same bytes on another link (NULL handle for in process). */
lpo_status fpga_set_move(fpga_set *s, fpga_unit *u, const fpga_link *link, void *handle, lpo_error *err);
void fpga_set_fill(fpga_set *s, const lpo_fpga_job *j); /* the caller's inputs into the buffers */
lpo_status fpga_set_start(fpga_set *s, lpo_fpga_job *j, lpo_error *err);
lpo_status fpga_set_fetch(const fpga_set *s, lpo_fpga_job *j, lpo_error *err);
/* Do a fetched job here too: other bytes are LPO_EDEVICE. Damage in memory and on the way shows no other way.
 */
lpo_status fpga_set_verify(const fpga_set *s, const lpo_fpga_job *j, lpo_error *err);
void fpga_set_clear(fpga_set *s);

/* card.c */
/* Jobs of the unit's kernel on the card now, into the trace; under the lock. */
void fpga_count_jobs(const fpga_unit *u);
void fpga_card_enter(fpga_card *c);
void fpga_card_leave(fpga_card *c);
/* After a failed attempt of j (why, in words): reset the card unless somebody has meanwhile, and give the
 * kernel up when it is the second time. */
void fpga_card_recover(fpga_card *c, lpo_fpga_job *j, const char *why);
/* The thread of a unit, a fpga_unit. */
void *fpga_unit_serve(void *unit);
#endif
