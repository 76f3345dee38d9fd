/* SPDX-License-Identifier: Apache-2.0 */
/* card_opencl.c -- a customer's host program in OpenCL, through the system's ICD loader:
 * clCreateProgramWithBinary, buffers, clEnqueueTask. Exit 0: the sums are right. */
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4096 };

static void check(cl_int e, const char *what) {
    if (e == CL_SUCCESS) return;
    fprintf(stderr, "%s: error %d\n", what, e);
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

int main(int argc, char **argv) {
    static int a[N], b[N], out[N];
    cl_platform_id platform[8], xilinx = NULL;
    cl_uint n_platforms;
    cl_device_id device;
    cl_int e, status;
    if (argc != 2) return 2;
    check(clGetPlatformIDs(8, platform, &n_platforms), "clGetPlatformIDs");
    for (cl_uint i = 0; i < n_platforms && i < 8; i++) {
        char name[64] = "";
        clGetPlatformInfo(platform[i], CL_PLATFORM_NAME, sizeof name, name, NULL);
        if (!strcmp(name, "Xilinx")) xilinx = platform[i];
    }
    check(xilinx ? CL_SUCCESS : -1, "no platform named Xilinx");
    check(clGetDeviceIDs(xilinx, CL_DEVICE_TYPE_ACCELERATOR, 1, &device, NULL), "clGetDeviceIDs");
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &e);
    check(e, "clCreateContext");
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &e);
    check(e, "clCreateCommandQueue");
    size_t size;
    unsigned char *binary = read_all(argv[1], &size);
    const unsigned char *binaries = binary;
    cl_program program = clCreateProgramWithBinary(context, 1, &device, &size, &binaries, &status, &e);
    check(e ? e : status, "clCreateProgramWithBinary");
    cl_kernel kernel = clCreateKernel(program, "vadd", &e);
    check(e, "clCreateKernel");
    for (int i = 0; i < N; i++) a[i] = i, b[i] = 3 * i;
    cl_mem ma = clCreateBuffer(context, CL_MEM_READ_ONLY, sizeof a, NULL, &e);
    check(e, "clCreateBuffer");
    cl_mem mb = clCreateBuffer(context, CL_MEM_READ_ONLY, sizeof b, NULL, &e);
    cl_mem mo = clCreateBuffer(context, CL_MEM_WRITE_ONLY, sizeof out, NULL, &e);
    int n = N;
    check(clSetKernelArg(kernel, 0, sizeof ma, &ma), "argument 0");
    check(clSetKernelArg(kernel, 1, sizeof mb, &mb), "argument 1");
    check(clSetKernelArg(kernel, 2, sizeof mo, &mo), "argument 2");
    check(clSetKernelArg(kernel, 3, sizeof n, &n), "argument 3");
    check(clEnqueueWriteBuffer(queue, ma, CL_TRUE, 0, sizeof a, a, 0, NULL, NULL), "write");
    check(clEnqueueWriteBuffer(queue, mb, CL_TRUE, 0, sizeof b, b, 0, NULL, NULL), "write");
    check(clEnqueueTask(queue, kernel, 0, NULL, NULL), "clEnqueueTask");
    check(clEnqueueReadBuffer(queue, mo, CL_TRUE, 0, sizeof out, out, 0, NULL, NULL), "read");
    check(clFinish(queue), "clFinish");
    for (int i = 0; i < N; i++)
        if (out[i] != 4 * i) return fprintf(stderr, "out[%d] = %d\n", i, out[i]), 1;
    clReleaseMemObject(ma);
    clReleaseMemObject(mb);
    clReleaseMemObject(mo);
    clReleaseKernel(kernel);
    clReleaseProgram(program);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    free(binary);
    return 0;
}
