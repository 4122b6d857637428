// Matrix product of float32 matrices in memory: C = A B + addend + bias.
//
// Why not ATen's: it calls MKL, which on processors of other makers takes a path of half their width (measured on an
// AVX-512 AMD EPYC: 100 GFLOP/s a core, this one 230), and which cannot write into a residual sum as it goes.
#pragma once

#include <cstdint>

namespace trainyard {

// An operand seen along the summed dimension k: element (i, k) lies at data[i * outer + k * inner].
struct GemmOperand {
  const float* data;
  int64_t outer;
  int64_t inner;
};

// Where the product goes, row by row. `addend` (may be `data` itself) and `bias` (one value a column) may be null.
struct GemmOutput {
  float* data;
  int64_t stride;
  const float* addend = nullptr;
  int64_t addend_stride = 0;
  const float* bias = nullptr;
};

// Multiplies with every thread of at::parallel_for. `a` has `rows` outer elements, `b` has `columns`. The order of
// additions does not depend on the number of threads.
void gemm(int64_t rows, int64_t columns, int64_t depth, GemmOperand a, GemmOperand b, GemmOutput c);

}  // namespace trainyard
