// Sums over rows whose order of additions is the same with any number of threads: the rows are cut into a fixed number
// of blocks, each sums its own rows, and the blocks are added in order.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace trainyard {

constexpr int64_t row_blocks = 16;

// Calls body(begin, end, partial) for each block of rows, in parallel; `partial` points to `width` zeros, which body
// adds to. Returns the sum of all partials, [width].
template <class Body>
at::Tensor sum_over_rows(int64_t rows, int64_t width, const Body& body) {
  at::Tensor partials = at::zeros({row_blocks, width}, at::TensorOptions().dtype(at::kFloat));
  float* data = partials.mutable_data_ptr<float>();
  at::parallel_for(0, row_blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      body(rows * block / row_blocks, rows * (block + 1) / row_blocks, data + block * width);
    }
  });
  return partials.sum(0);
}

}  // namespace trainyard
