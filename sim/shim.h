/* SPDX-License-Identifier: Apache-2.0 */
/* shim.h -- the host's side of the software card, shared by the shim's files.
 * A card has buffers (stores behind handles), compute units and jobs; one lock guards all of it. */
#ifndef LEANPO_SIM_SHIM_H
#define LEANPO_SIM_SHIM_H
#include "wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct ert_start_kernel_cmd;

enum { MAX_CARDS = 16, MAX_BANKS = 64, MAX_JOBS = 4096, MAX_ARGS = 256, PAGE = 4096 };

/* One piece of device memory and its host copy. Several handles (export, import) and jobs may hold it. */
typedef struct store {
    struct store *next; /* by address; not for command buffers */
    int refs, fd;       /* fd: -1 for a command buffer, which lives in host memory only */
    unsigned flags, bank;
    size_t size, span; /* span: size in whole pages */
    uint64_t address;
    uint8_t *device, *host; /* the same memory when LEANPO_CARD_SHARED is set */
    bool own_host;          /* host was mapped here, not given by the user */
    dev_t dev_id;
    ino_t inode;
} store;

typedef struct unit {
    char name[65];
    uint64_t base;
    int queued, lost;      /* runs under way; runs given up that the card has not ended */
    int exclusive, shared; /* contexts */
    double progress_s;     /* when a run last began or ended here */
    unsigned runs;         /* since loading: what LEANPO_CARD_FAULTS counts */
    int n_memory;          /* its memory arguments */
    struct {
        uint16_t offset; /* in the register map */
        bool output;     /* not const */
    } memory[MAX_ARGS];
} unit;

/* A slot is free when it is neither a command's nor lost: given up, while the kernel may still run. */
typedef struct job {
    store *command;
    bool lost;
    unsigned long order;
    int unit;
    bool flip;
    uint64_t output; /* device address a bit-flip fault spoils */
    char *banks;     /* what the trace says of its buffers; NULL: no trace */
} job;

typedef struct card {
    unsigned index;
    int opened, n_units, n_banks, socket;
    void *core[2]; /* std::shared_ptr<xrt_core::device> */
    bool zero_copy, poison, alive, starting, closing;
    int timeout_ms; /* 0: none */
    int start_failed, n_ready;
    pid_t pid;
    pthread_t reader;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned long n_done, n_submitted;
    struct {
        uint64_t base, size;
        char tag[17];
    } bank[MAX_BANKS];
    unit unit[WIRE_CUS];
    uint64_t clock_hz;
    uint8_t *registers;
    int registers_fd;
    unsigned char uuid[16];
    store **handle, *stores; /* handle[i] is NULL when free */
    unsigned n_handles;
    job job[MAX_JOBS];
} card;

/* shim.c */
void card_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* link.c: the process and its socket. Called with the lock held, except start and stop. */
int link_start(card *c, int image_fd);
void link_stop(card *c);
int link_send(card *c, wire_command *m, size_t payload_bytes, int fd);
void link_map(card *c, const store *s);
void link_give_up(card *c, job *j, unsigned state); /* ends a run that may go on in the card */
/* memory.c */
store *store_of(card *c, unsigned handle);
store *store_at(const card *c, uint64_t address); /* NULL: no buffer is there */
void store_drop(card *c, store *s);
/* trace.c */
double now_s(void);
void trace_open(void);
void trace_close(void);
bool trace_on(void);
void trace_transfer(const card *c, const char *direction, unsigned bank, size_t bytes, double start_s);
char *trace_banks(const card *c, const unit *u, const uint8_t *regs); /* malloc'd */
void trace_run(const card *c, const job *j, const wire_reply *r);
/* faults.c: does the fault `kind` strike the n-th (from 1) event of `name`? */
bool fault_now(const char *kind, const char *name, unsigned n);
#endif
