/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: asm */
void kernel(int *out) {
    __asm__("nop");
    *out = 0;
}
