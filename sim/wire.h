/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h -- what passes between the shim in the host program and the card process, over one SEQPACKET socket
 * (fd 3 of the card). Buffers travel as memfds mapped by both sides; only commands and completions are
 * messages. */
#ifndef LEANPO_SIM_WIRE_H
#define LEANPO_SIM_WIRE_H
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

enum { WIRE_FD = 3, WIRE_CUS = 128, WIRE_REGS = 4096 };
#define WIRE_RANGE (UINT64_C(64) << 30) /* bytes of device address space */

enum wire_type {
    WIRE_MAP = 1, /* fd: a buffer at [address, address + size) */
    WIRE_UNMAP,
    WIRE_IMAGE,     /* fd: the kernels' shared object */
    WIRE_REGISTERS, /* fd: WIRE_CUS register maps, shared with the host */
    WIRE_CU,        /* cu; payload: "vadd:vadd_1" */
    WIRE_RUN,       /* cu, job, fault; payload: the register map, none = as the registers are */
    WIRE_CANCEL     /* cu, job: when it has not begun, it ends now; else nothing */
};

enum wire_fault { FAULT_NONE, FAULT_HANG, FAULT_ABORT, FAULT_LATE };

typedef struct wire_command {
    uint32_t type, cu, job, fault;
    uint64_t address, size;
    uint8_t payload[WIRE_REGS];
} wire_command;
#define WIRE_HEAD offsetof(wire_command, payload)

#define WIRE_NO_JOB UINT32_MAX
/* A finished job; the card's start-up answers job WIRE_NO_JOB with 0, or 1 after saying why on stderr. Times
 * are CLOCK_MONOTONIC; cycles and bytes are the kernel's own model of itself, 0 when it has none. */
typedef struct wire_reply {
    uint32_t job, failed;
    double start_s, seconds;
    uint64_t cycles, bytes;
} wire_reply;
/* The next message is often a few microseconds away, and waking a sleeping processor takes longer than that:
 * ask again for a while, letting others run, before the caller sleeps on the socket. */
enum { WIRE_EAGER_NS = 50000 };
static inline void wire_expect(int fd) {
    struct timespec t;
    char byte;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const int64_t start = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    int64_t now = start;
    while (now - start < WIRE_EAGER_NS && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno == EAGAIN) {
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &t);
        now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
}
#endif
