// Tensors as operands of our matrix product.
#pragma once

#include <ATen/core/Tensor.h>

#include "gemm.h"

namespace trainyard {

inline bool has_unit_stride(const at::Tensor& matrix) { return matrix.stride(0) == 1 || matrix.stride(1) == 1; }

// A matrix as rows of an operand, or as columns of one: whichever way it lies in memory, no copy is made.
inline GemmOperand operand(const at::Tensor& matrix, int64_t outer) {
  return {matrix.const_data_ptr<float>(), matrix.stride(outer), matrix.stride(1 - outer)};
}

}  // namespace trainyard
