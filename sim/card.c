/* SPDX-License-Identifier: Apache-2.0 */
/* card.c -- leanpo-card: the software card. One process per opened device, so that a kernel that crashes
 * takes the card and not the host. Every compute unit has its own copy of the kernels' shared object (HLS
 * code has statics) and its own thread. Device memory is a reserved 64 GiB range where the host's memfds are
 * mapped at their device address: a kernel that leaves its buffers faults, as on a card with an address
 * translation unit. The end of the socket is the end of the card, whatever its kernels are doing. */
#include "card_kernel.h"
#include "wire.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct job {
    struct job *next;
    uint32_t id, fault;
    size_t size;
    uint8_t regs[WIRE_REGS];
} job;

typedef struct unit {
    char name[65];
    void (*run)(const uint8_t *regs, const card_env *env);
    const card_timing *timing; /* NULL: the kernels do not model themselves */
    volatile uint8_t *regs;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    job *head, **tail;
} unit;

static unit units[WIRE_CUS];
static uint8_t *memory, *registers;
static int image = -1;
static _Thread_local const char *running; /* compute unit of this thread, while its kernel runs */

static void *pointer(const card_env *env, uint64_t address) {
    (void)env;
    return address < WIRE_RANGE ? memory + address : NULL;
}
static const card_env env = {pointer};

static void die(const char *what, const char *why) {
    fprintf(stderr, "leanpo-card: %s: %s\n", what, why);
    wire_reply r = {.job = WIRE_NO_JOB, .failed = 1};
    send(WIRE_FD, &r, sizeof r, MSG_NOSIGNAL);
    _exit(2);
}

/* Async-signal-safe: say which compute unit it was, then die of the signal. */
static void on_crash(int sig, siginfo_t *info, void *context) {
    char line[256], hex[17];
    uint64_t at = (uint64_t)(uintptr_t)info->si_addr, base = (uint64_t)(uintptr_t)memory;
    int in_memory = at >= base && at - base < WIRE_RANGE, n = 16;
    (void)context;
    if (in_memory) at -= base;
    hex[n] = 0;
    do hex[--n] = "0123456789abcdef"[at & 15];
    while ((at >>= 4) && n);
    line[0] = 0;
    strcat(strcat(line, "leanpo-card: kernel in "), running ? running : "no compute unit");
    strcat(line, sig == SIGABRT ? ": aborted" : sig == SIGFPE ? ": arithmetic fault" : ": memory fault at ");
    if (sig != SIGABRT && sig != SIGFPE)
        strcat(strcat(line, in_memory ? "device address 0x" : "0x"), hex + n);
    strcat(line, "\n");
    if (write(STDERR_FILENO, line, strlen(line)) < 0) { /* nobody is left to be told */
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { AP_START = 1, AP_DONE = 2, AP_IDLE = 4 };

static void execute(unit *u, job *j) {
    if (j->size)
        for (size_t i = 0x10; i < j->size; i++) u->regs[i] = j->regs[i];
    else
        for (size_t i = 0; i < WIRE_REGS; i++) j->regs[i] = u->regs[i];
    u->regs[0] = AP_START;
    running = u->name;
    wire_reply r = {.job = j->id, .start_s = now_s()};
    while (j->fault == FAULT_HANG) pause();
    if (j->fault == FAULT_ABORT) abort();
    if (j->fault == FAULT_LATE) usleep(300000);
    if (u->timing) u->timing->begin();
    u->run(j->regs, &env);
    if (u->timing) u->timing->end(&r.cycles, &r.bytes);
    r.seconds = now_s() - r.start_s;
    running = NULL;
    u->regs[0] = AP_DONE | AP_IDLE;
    if (j->id != WIRE_NO_JOB) send(WIRE_FD, &r, sizeof r, MSG_NOSIGNAL);
    free(j);
}

static void *serve(void *arg) {
    unit *u = arg;
    for (;;) {
        pthread_mutex_lock(&u->lock);
        while (!u->head) pthread_cond_wait(&u->more, &u->lock);
        job *j = u->head;
        if (!(u->head = j->next)) u->tail = &u->head;
        pthread_mutex_unlock(&u->lock);
        execute(u, j);
    }
    return NULL;
}

/* The descriptor stays open: dlopen knows libraries by path, and /proc/self/fd/N must not name two of them.
 */
static void *private_copy(void) {
    char path[40];
    off_t at = 0;
    ssize_t n;
    int fd = memfd_create("kernels", MFD_CLOEXEC);
    if (fd < 0) die("a compute unit", strerror(errno));
    while ((n = sendfile(fd, image, &at, 1 << 30)) > 0) continue;
    if (n < 0) die("a compute unit", strerror(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) die("BITSTREAM", dlerror());
    return so;
}

static void add_unit(const wire_command *c, size_t size) {
    if (c->cu >= WIRE_CUS || size == 0 || size >= sizeof units->name || !registers)
        die("protocol", "a bad compute unit");
    unit *u = &units[c->cu];
    memcpy(u->name, c->payload, size);
    size_t n = strcspn(u->name, ":");
    void *so = private_copy();
    const card_kernel *k = dlsym(so, "card_kernels");
    if (!k) die("BITSTREAM", "no card_kernels in the shared object (leanpo xclbin build makes them)");
    while (k->name && (strlen(k->name) != n || memcmp(k->name, u->name, n))) k++;
    if (!k->name) die(u->name, "the shared object has no such kernel");
    u->run = k->run;
    u->timing = dlsym(so, "card_timing_model");
    u->regs = registers + (size_t)c->cu * WIRE_REGS;
    u->regs[0] = AP_IDLE;
    u->tail = &u->head;
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->more, NULL);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 20); /* what lies in block RAM on a card is local arrays here */
    if (pthread_create(&u->thread, &attr, serve, u)) die(u->name, "no thread");
}

static void queue(const wire_command *c, size_t size) {
    job *j = calloc(1, sizeof *j);
    if (!j || c->cu >= WIRE_CUS || !units[c->cu].run) die("protocol", "a run of an absent compute unit");
    unit *u = &units[c->cu];
    j->id = c->job;
    j->fault = c->fault;
    j->size = size;
    memcpy(j->regs, c->payload, size);
    pthread_mutex_lock(&u->lock);
    *u->tail = j;
    u->tail = &j->next;
    pthread_cond_signal(&u->more);
    pthread_mutex_unlock(&u->lock);
}

static void cancel(const wire_command *c) {
    if (c->cu >= WIRE_CUS || !units[c->cu].run) die("protocol", "a cancelled run of an absent compute unit");
    unit *u = &units[c->cu];
    pthread_mutex_lock(&u->lock);
    job **p = &u->head, *j;
    while (*p && (*p)->id != c->job) p = &(*p)->next;
    if ((j = *p) && !(*p = j->next)) u->tail = p;
    pthread_mutex_unlock(&u->lock);
    wire_reply r = {.job = c->job};
    if (j) send(WIRE_FD, &r, sizeof r, MSG_NOSIGNAL);
    free(j);
}

static void map(const wire_command *c, int fd) {
    if (c->address > WIRE_RANGE || c->size > WIRE_RANGE - c->address)
        die("protocol", "a buffer outside the address range");
    void *p = fd >= 0
                  ? mmap(memory + c->address, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0)
                  : mmap(memory + c->address, c->size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) die("mapping a buffer", strerror(errno));
    if (fd >= 0) close(fd);
}

/* One command and the descriptor that came with it (-1: none). Returns the payload's size, -1 at the end. */
static ssize_t receive(wire_command *c, int *fd) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec io = {c, sizeof *c};
    struct msghdr h = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n;
    wire_expect(WIRE_FD);
    do n = recvmsg(WIRE_FD, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *fd = -1;
    if (n < (ssize_t)WIRE_HEAD) return -1;
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    if (m && m->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(m), sizeof *fd);
    return n - (ssize_t)WIRE_HEAD;
}

int main(void) {
    static wire_command c;
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    int fd;
    ssize_t size;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(WIRE_FD + 1, ~0u, 0);
    struct sigaction crash = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &crash, NULL);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the host's to handle; the card ends with it */
    memory = mmap(NULL, WIRE_RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) die("reserving device memory", strerror(errno));
    while ((size = receive(&c, &fd)) >= 0) switch (c.type) {
        case WIRE_MAP:
        case WIRE_UNMAP: map(&c, fd); break;
        case WIRE_IMAGE: image = fd; break;
        case WIRE_REGISTERS:
            registers = mmap(NULL, WIRE_CUS * WIRE_REGS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (registers == MAP_FAILED) die("registers", strerror(errno));
            close(fd);
            break;
        case WIRE_CU: {
            add_unit(&c, (size_t)size);
            wire_reply ready = {.job = WIRE_NO_JOB};
            send(WIRE_FD, &ready, sizeof ready, MSG_NOSIGNAL);
            break;
        }
        case WIRE_RUN: queue(&c, (size_t)size); break;
        case WIRE_CANCEL: cancel(&c); break;
        default: die("protocol", "an unknown command");
        }
    _exit(0);
}
