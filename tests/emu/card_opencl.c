/* SPDX-License-Identifier: Apache-2.0 */
/* card_opencl.c -- a customer's host program in OpenCL, through the system's ICD loader:
 * clCreateProgramWithBinary, buffers, clEnqueueTask. `card_opencl t.xclbin CASE`, one process a case. Exit 0:
 * the case holds. */
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cl_context context;
static cl_command_queue queue; /* out of order: what must wait says so */
static cl_program program;

#define OK(call)     check(call, #call, __LINE__)
#define MADE(object) check((object) ? e : -1, #object, __LINE__)
static void check(cl_int e, const char *what, int line) {
    if (e == CL_SUCCESS) return;
    fprintf(stderr, "line %d: %s: error %d\n", line, what, e);
    exit(1);
}

static void same(long got, long wanted, const char *what) {
    if (got == wanted) return;
    fprintf(stderr, "%s: %ld, not %ld\n", what, got, wanted);
    exit(1);
}

static unsigned char *read_all(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) exit(2);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size);
    if (!data || fread(data, 1, *size, f) != *size) exit(2);
    fclose(f);
    return data;
}

static void open_card(const char *path) {
    cl_platform_id platform[8], xilinx = NULL;
    cl_uint n_platforms;
    cl_device_id device;
    cl_int e, status;
    OK(clGetPlatformIDs(8, platform, &n_platforms));
    for (cl_uint i = 0; i < n_platforms && i < 8; i++) {
        char name[64] = "";
        clGetPlatformInfo(platform[i], CL_PLATFORM_NAME, sizeof name, name, NULL);
        if (!strcmp(name, "Xilinx")) xilinx = platform[i];
    }
    check(xilinx ? CL_SUCCESS : -1, "a platform named Xilinx", __LINE__);
    OK(clGetDeviceIDs(xilinx, CL_DEVICE_TYPE_ACCELERATOR, 1, &device, NULL));
    context = clCreateContext(NULL, 1, &device, NULL, NULL, &e), MADE(context);
    queue = clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &e), MADE(queue);
    size_t size;
    unsigned char *binary = read_all(path, &size);
    const unsigned char *binaries = binary;
    program = clCreateProgramWithBinary(context, 1, &device, &size, &binaries, &status, &e), MADE(program);
    check(status, "the container", __LINE__);
    free(binary);
}

static cl_mem buffer(size_t size) {
    cl_int e;
    cl_mem m = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &e);
    MADE(m);
    return m;
}

static cl_kernel kernel(const char *name, cl_mem a, cl_mem b, cl_mem out, int n) {
    cl_int e;
    cl_kernel k = clCreateKernel(program, name, &e);
    MADE(k);
    OK(clSetKernelArg(k, 0, sizeof a, &a));
    OK(clSetKernelArg(k, 1, sizeof b, &b));
    OK(clSetKernelArg(k, 2, sizeof out, &out));
    OK(clSetKernelArg(k, 3, sizeof n, &n));
    return k;
}

/* out = a + b on both compute units at once, `reps` times; the reads wait for their runs by events. */
static void add(const char *name, int n, int reps) {
    size_t size = (size_t)n * sizeof(int);
    cl_mem a[2], b[2], out[2];
    cl_kernel k[2];
    int *p[2], *sum[2];
    for (int s = 0; s < 2; s++) {
        a[s] = buffer(size), b[s] = buffer(size), out[s] = buffer(size);
        k[s] = kernel(name, a[s], b[s], out[s], n);
        p[s] = malloc(size), sum[s] = malloc(size);
    }
    for (int r = 0; r < reps; r++) {
        cl_event ran[2];
        for (int s = 0; s < 2; s++) {
            for (int i = 0; i < n; i++) p[s][i] = i + r * s;
            OK(clEnqueueWriteBuffer(queue, a[s], CL_TRUE, 0, size, p[s], 0, NULL, NULL));
            OK(clEnqueueWriteBuffer(queue, b[s], CL_TRUE, 0, size, p[s], 0, NULL, NULL));
            OK(clEnqueueTask(queue, k[s], 0, NULL, &ran[s]));
        }
        for (int s = 0; s < 2; s++)
            OK(clEnqueueReadBuffer(queue, out[s], CL_FALSE, 0, size, sum[s], 1, &ran[s], NULL));
        OK(clFinish(queue));
        for (int s = 0; s < 2; s++) {
            for (int i = 0; i < n; i++) same(sum[s][i], 2L * (i + r * s), "a sum");
            OK(clReleaseEvent(ran[s]));
        }
    }
    for (int s = 0; s < 2; s++) {
        free(p[s]), free(sum[s]);
        OK(clReleaseKernel(k[s]));
        OK(clReleaseMemObject(a[s]));
        OK(clReleaseMemObject(b[s]));
        OK(clReleaseMemObject(out[s]));
    }
}

static void case_stream(void) {
    add("vadd", 4096, 1);
}
static void case_large(void) {
    add("sum", 16 << 20, 1); /* 64 MiB each */
}
static void case_many(void) {
    add("sum", 64, 500); /* 1,000 runs */
}

static void case_scalars(void) {
    const float f = 1.5f;
    const double d = -2.25;
    const uint64_t u = (uint64_t)1 << 40;
    const int64_t i = -3;
    const int small = 250, minus = -7, yes = 1;
    const unsigned n = 4000000000u;
    const struct {
        const void *p;
        size_t size;
    } arg[] = {{&f, 4}, {&d, 8}, {&u, 8}, {&i, 8}, {&small, 4}, {&minus, 4}, {&yes, 4}, {&n, 4}};
    double got[8], want[] = {1.5, -2.25, 1099511627776.0, -3, 250, -7, 1, 4e9};
    cl_int e;
    cl_mem out = buffer(sizeof got);
    cl_kernel k = clCreateKernel(program, "scalars", &e);
    MADE(k);
    OK(clSetKernelArg(k, 0, sizeof out, &out));
    for (cl_uint a = 0; a < 8; a++) OK(clSetKernelArg(k, a + 1, arg[a].size, arg[a].p));
    OK(clEnqueueTask(queue, k, 0, NULL, NULL));
    OK(clFinish(queue));
    OK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL));
    for (int a = 0; a < 8; a++) same(got[a] == want[a], 1, "a scalar");
    OK(clReleaseKernel(k));
    OK(clReleaseMemObject(out));
}

/* A sub-buffer as an argument, and a copy from buffer to buffer on the card. */
static void case_buffers(void) {
    enum { N = 2048 };
    static int p[N], got[N];
    cl_int e;
    cl_buffer_region half = {N * sizeof(int) / 2, N * sizeof(int) / 2};
    cl_mem a = buffer(sizeof p), b = buffer(sizeof p), out = buffer(sizeof p);
    cl_mem upper = clCreateSubBuffer(a, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &half, &e);
    MADE(upper);
    cl_kernel k = kernel("vadd", upper, b, out, N / 2); /* now XRT knows the banks */
    for (int i = 0; i < N; i++) p[i] = i;
    OK(clEnqueueWriteBuffer(queue, a, CL_TRUE, 0, sizeof p, p, 0, NULL, NULL));
    OK(clEnqueueMigrateMemObjects(queue, 1, &a, 0, 0, NULL, NULL)); /* XRT copies what is on the card */
    OK(clFinish(queue));
    OK(clEnqueueCopyBuffer(queue, a, b, 0, 0, sizeof p, 0, NULL, NULL));
    OK(clFinish(queue));
    OK(clEnqueueTask(queue, k, 0, NULL, NULL));
    OK(clFinish(queue));
    OK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL));
    for (int i = 0; i < N / 2; i++) same(got[i], N / 2 + 2 * i, "upper half + copy");
    OK(clReleaseKernel(k));
    OK(clReleaseMemObject(upper));
    OK(clReleaseMemObject(a));
    OK(clReleaseMemObject(b));
    OK(clReleaseMemObject(out));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"stream", case_stream},
                 {"large", case_large},
                 {"many", case_many},
                 {"scalars", case_scalars},
                 {"buffers", case_buffers}};
    if (argc != 3) return 2;
    open_card(argv[1]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(cases[i].name, argv[2])) continue;
        cases[i].run();
        clReleaseProgram(program);
        clReleaseCommandQueue(queue);
        clReleaseContext(context);
        return 0;
    }
    fprintf(stderr, "no case %s\n", argv[2]);
    return 2;
}
