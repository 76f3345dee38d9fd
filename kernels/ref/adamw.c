/* SPDX-License-Identifier: Apache-2.0 */
/* adamw.c -- decoupled weight decay Adam, in the order of operations of torch.optim.AdamW, with the
 * gradient's unscaling and the clip by global norm folded in. */
#include "kernels/ref/ref.h"

int lpo_ref_adamw(const lpo_kcall *c) {
    const lpo_karg *p = &c->arg[0], *m = &c->arg[1], *v = &c->arg[2], *low = &c->arg[3], *g = &c->arg[4],
                   *norm2 = &c->arg[5];
    const lpo_attrs *a = &c->attrs;
    const int64_t n = lpo_karg_count(p);
    if (!ref_real(p) || !ref_real(m) || !ref_real(v) || !ref_real_or_absent(low) || !ref_real(g) ||
        (norm2->data && norm2->dtype != LPO_F64))
        return -1;
    if (!ref_is_vec(m, n) || !ref_is_vec(v, n) || !ref_is_vec(low, n) || !ref_is_vec(g, n)) return -1;
    double scale = a->g_scale;
    if (a->max_norm > 0 && norm2->data)
        scale *= fmin(1, a->max_norm / (sqrt(*(const double *)norm2->data) * a->g_scale + 1e-6));
    for (int64_t i = 0; i < n; i++) {
        const double gi = ref_get(g, i) * scale;
        const double mi = a->beta1 * ref_get(m, i) + (1 - a->beta1) * gi;
        const double vi = a->beta2 * ref_get(v, i) + (1 - a->beta2) * gi * gi;
        double pi = ref_get(p, i) * (1 - a->lr * a->weight_decay);
        pi -= a->lr / a->bias1 * mi / (sqrt(vi) / sqrt(a->bias2) + a->eps);
        ref_put(m, i, mi);
        ref_put(v, i, vi);
        ref_put(p, i, pi);
        if (low->data) ref_put(low, i, ref_get(p, i));
    }
    return 0;
}
