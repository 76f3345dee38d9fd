/* SPDX-License-Identifier: Apache-2.0 */
/* xclbin.h -- FPGA containers: read and check any xclbin, write one for the software card, build one from HLS
 * sources with the system compiler. Reading never trusts a length: a damaged container is an error naming the
 * place, where XRT itself would crash. */
#ifndef LEANPO_XCLBIN_H
#define LEANPO_XCLBIN_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

enum { LPO_XCLBIN_HW_EMU = 4, LPO_XCLBIN_SW_EMU = 5 }; /* values of `mode`; 0..3 are for hardware */

/* Section kinds the software card needs; lpo_xclbin_kind_name knows all of them. */
enum {
    LPO_XCLBIN_BITSTREAM = 0,
    LPO_XCLBIN_METADATA = 2,
    LPO_XCLBIN_MEMORY = 6,
    LPO_XCLBIN_CONNECTIVITY = 7,
    LPO_XCLBIN_IP_LAYOUT = 8,
    LPO_XCLBIN_CLOCKS = 11
};

typedef struct lpo_xclbin_section {
    uint32_t kind;
    char name[17];
    uint64_t offset, size_bytes;
    const void *data; /* inside the container */
} lpo_xclbin_section;

typedef struct lpo_xclbin_memory {
    int type, used;          /* 1 DDR4, 3 stream, 6 HBM, ...; used 0: not present */
    uint64_t size_kib, base; /* for a stream: route and flow */
    char tag[17];
} lpo_xclbin_memory;

typedef struct lpo_xclbin_ip {
    uint32_t type, properties; /* type 1: a kernel's compute unit */
    uint64_t base;
    char name[65]; /* "vadd:vadd_1" */
} lpo_xclbin_ip;

typedef struct lpo_xclbin_connection {
    int32_t arg, ip, memory;
} lpo_xclbin_connection;

typedef struct lpo_xclbin_clock {
    unsigned mhz, type;
    char name[129];
} lpo_xclbin_clock;

typedef struct lpo_xclbin_arg {
    const char *name, *type;
    unsigned id, qualifier; /* qualifier 0 scalar, 1 memory, 3 constant memory, 4 stream */
    uint64_t size, offset;  /* bytes; offset in the register map */
} lpo_xclbin_arg;

typedef struct lpo_xclbin_kernel {
    const char *name;
    int n_args, n_instances;
    lpo_xclbin_arg *args;
} lpo_xclbin_kernel;

typedef struct lpo_xclbin {
    uint64_t size_bytes, timestamp; /* of the container; seconds since 1970 */
    unsigned version[3], mode;
    char platform[65], uuid[37];
    int signature_bytes; /* -1: not signed */
    int n_sections, n_memories, n_ips, n_connections, n_clocks, n_kernels;
    lpo_xclbin_section *sections;
    lpo_xclbin_memory *memories;
    lpo_xclbin_ip *ips;
    lpo_xclbin_connection *connections;
    lpo_xclbin_clock *clocks;
    lpo_xclbin_kernel *kernels; /* from the embedded metadata */
    struct lpo_xclbin_own *own; /* the memory behind all of the above */
} lpo_xclbin;

/* Read and validate a file, or size_bytes of memory (copied; `where` names it in errors). lpo_xclbin_close.
 */
LPO_API lpo_status lpo_xclbin_open(lpo_xclbin **out, const char *path, lpo_error *err);
LPO_API lpo_status lpo_xclbin_parse(lpo_xclbin **out, const void *data, size_t size_bytes, const char *where,
                                    lpo_error *err);
LPO_API void lpo_xclbin_close(lpo_xclbin *x); /* NULL accepted */

/* What the software card further asks of an emulation container: its mode, a shared object as bitstream, and
 * for every compute unit a kernel in the metadata whose arguments fit the register map. */
LPO_API lpo_status lpo_xclbin_check_card(const lpo_xclbin *x, const char *where, lpo_error *err);

LPO_API const lpo_xclbin_section *lpo_xclbin_find(const lpo_xclbin *x, uint32_t kind); /* NULL: absent */
LPO_API const char *lpo_xclbin_kind_name(uint32_t kind); /* "MEM_TOPOLOGY"; NULL: unknown */
LPO_API int lpo_xclbin_kind_of(const char *name);        /* -1: unknown */
LPO_API const char *lpo_xclbin_mode_name(unsigned mode); /* "sw_emu"; never NULL */

typedef struct lpo_xclbin_part {
    uint32_t kind;
    const void *data;
    size_t size_bytes;
} lpo_xclbin_part;

/* Write a container atomically. The uuid is a hash of the parts: the same parts are the same bytes. */
LPO_API lpo_status lpo_xclbin_write(const char *path, unsigned mode, const char *platform,
                                    const lpo_xclbin_part *parts, int n_parts, lpo_error *err);

typedef struct lpo_xclbin_build_options {
    const char *const *sources; /* .c by cc, .cpp .cc .cxx by c++ ($CC and $CXX change them) */
    int n_sources;
    const char *const *kernels; /* "void vadd(const int *a, int *out, int n)", one each */
    int n_kernels;
    const char *const *banks; /* "a=1" or "vadd.a=1": pointer argument to memory bank; others are in bank 0 */
    int n_banks;
    const char *const *include_dirs;
    int n_include_dirs;
    int cus;                       /* compute units of each kernel, 1..32 */
    const char *const *kernel_cus; /* "vadd=2": over `cus` for that kernel */
    int n_kernel_cus;
    int bank_mib;     /* size of each bank */
    int bounded_fifo; /* C++: streams have their depth, DATAFLOW processes run at once, deadlocks are found */
    const char *cflags; /* more compiler flags, split at spaces; NULL: none */
    const char *out;
} lpo_xclbin_build_options;

/* One compute unit each, 16 GiB banks, nothing else set. */
LPO_API lpo_xclbin_build_options lpo_xclbin_build_default(void);
/* Compiler messages go to the standard error this process has. */
LPO_API lpo_status lpo_xclbin_build(const lpo_xclbin_build_options *o, lpo_error *err);

/* Folder of the software card (its shim, its process, its headers): $LEANPO_SIM, beside the running program,
 * or the build tree. Writes a NUL-terminated path; LPO_ENOTFOUND says what was tried. */
LPO_API lpo_status lpo_card_dir(char *path, size_t size, lpo_error *err);

/* What the environment must say for XRT to find the software card instead of hardware. LPO_ENOTFOUND when
 * this build has no card for XRT. */
enum { LPO_CARD_VARIABLES = 6 };
typedef struct lpo_card_variable {
    const char *name;
    char value[4200];
    int replaces; /* 0: a value that is already set is as good */
} lpo_card_variable;
LPO_API lpo_status lpo_card_environment(lpo_card_variable out[LPO_CARD_VARIABLES], lpo_error *err);
#endif
