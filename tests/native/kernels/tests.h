// The tests of one instruction set; each reports its failures.
#pragma once

#include "kernels/kernels.h"

namespace g4::test {

void test_unpack(const Kernels& set);
void test_few_rows(const Kernels& set);
void test_together(const Together& kernel);
/// `rounding`: the largest error, as a share of the spread of such sums.
void test_many_rows(const ManyRows& kernel, double rounding = 1e-5);
void test_add_low_rank(const Kernels& set);
void test_many_rows_by_columns(const ManyRows& kernel);
void test_select_above(const Kernels& set);
void test_rms_norm(const Kernels& set);
void test_rotate(const Kernels& set);
void test_attention(const Kernels& set);
void test_audio(const Kernels& set);
void test_activate(const Kernels& set);
void test_softcap(const Kernels& set);
/// The kernels of gradients, but for products.
void test_back(const Kernels& set);

}  // namespace g4::test
