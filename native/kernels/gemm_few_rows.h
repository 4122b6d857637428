// The matrix product for so few rows that reading the columns is all the work: they are read once, as they lie.
#pragma once

#include <cstdint>

#include "gemm.h"

namespace trainyard {

constexpr int64_t few_rows = 4;

// Computes up to `few_rows` rows with every thread of at::parallel_for; the order of additions does not depend on how
// many there are. One stride of `b` must be 1.
void gemm_few_rows(int64_t rows, int64_t columns, int64_t depth, GemmOperand a, GemmOperand b, GemmOutput c);

}  // namespace trainyard
