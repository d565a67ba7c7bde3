#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transfer/dense_metrics.h"

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

/* Of class 0 2 of 3 pixels are found, and one more is taken for it: IoU 2/4. Of class 1 1 of 3, none more: 1/3. Class 2 is only
 * predicted: 0 of 2. Class 3 is nowhere and counts in no mean. The pixel without a label counts nowhere. */
static void masks_are_counted_by_hand(void **state)
{
    (void)state;
    static const int32_t labels[] = {0, 0, 0, 1, 1, 1, -1}, predicted[] = {0, 0, 2, 1, 0, 2, 3};
    double sums[MASK_SUMS(4)] = {0}, iou[4];
    mask_sums(predicted, labels, 4, sums); /* sums add up */
    mask_sums(predicted + 4, labels + 4, 3, sums);
    MaskScore score = mask_score(sums, 4, iou);
    assert_true(near(iou[0], 0.5) && near(iou[1], 1. / 3) && near(iou[2], 0) && isnan(iou[3]));
    assert_true(near(score.miou, (0.5 + 1. / 3) / 3));
    assert_true(near(score.pixel_accuracy, 0.5));
    assert_true(near(score.class_accuracy, (2. / 3 + 1. / 3) / 2));
}

/* 2 for 2, 3 for 2 (ratio 1.5), 1 for 2 (ratio 2); nothing is there at the last. */
static void depths_are_counted_by_hand(void **state)
{
    (void)state;
    static const float predicted[] = {2, 3, 1, 5}, truth[] = {2, 2, 2, 0};
    double sums[DEPTH_SUMS] = {0}, up = log(1.5), down = -log(2.0);
    depth_sums(predicted, truth, 4, sums);
    DepthScore s = depth_score(sums);
    assert_true(near(s.d1, 1. / 3) && near(s.d2, 2. / 3) && near(s.d3, 2. / 3)); /* 1.25, 1.5625, 1.953 */
    assert_true(near(s.abs_rel, (0.5 + 0.5) / 3) && near(s.sq_rel, (0.5 + 0.5) / 3));
    assert_true(near(s.rmse, sqrt(2. / 3)));
    assert_true(near(s.rmse_log, sqrt((up * up + down * down) / 3)));
    assert_true(near(s.log10, (up - down) / 3 / log(10)));
    double mean = (up + down) / 3;
    assert_true(near(s.silog, sqrt((up * up + down * down) / 3 - 0.5 * mean * mean)));
    /* A head that diverged is not the best one. */
    depth_sums((const float[]){NAN}, (const float[]){2}, 1, sums);
    s = depth_score(sums);
    assert_true(isnan(s.silog) && isnan(s.rmse) && near(s.d1, 1. / 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_are_counted_by_hand),
                                       cmocka_unit_test(depths_are_counted_by_hand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
