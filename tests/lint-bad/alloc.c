/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: alloc */
void *malloc(unsigned long n);
void kernel(int *out) {
    void *heap = malloc(4);
    *out = heap != 0;
}
