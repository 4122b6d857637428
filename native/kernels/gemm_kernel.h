// What one instruction set offers to the matrix product.
#pragma once

#include <cstdint>

#include "gemm.h"

namespace trainyard {

struct GemmKernel {
  int64_t tile_rows;
  int64_t tile_columns;
  // Copies outer elements [0, count) over `depth` values of k into panels `tile_rows` or `tile_columns` wide, one after
  // another. May write up to one vector beyond the last.
  void (*pack_rows)(GemmOperand source, int64_t count, int64_t depth, float* packed);
  void (*pack_columns)(GemmOperand source, int64_t count, int64_t depth, float* packed);
  // One block of packed rows times one block of packed columns.
  void (*multiply)(int64_t rows, int64_t columns, int64_t depth, const float* a, const float* b, GemmOutput c);
};

// The widest that this processor has, or null.
const GemmKernel* gemm_kernel();

// Each null where the processor lacks the instructions or the compiler the target.
const GemmKernel* gemm_kernel_avx512();
const GemmKernel* gemm_kernel_avx2();

}  // namespace trainyard
