// trainyard::norm_squared: the sum of squares of flat memory, for the global gradient norm. Summed in double in
// blocks of fixed length, so that the result does not depend on the number of threads.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <vector>

#include "checks.h"
#include "simd.h"

namespace trainyard {
namespace {

constexpr int64_t block_elements = 4096;

// Within a block float sums in sixteen lanes lose nothing that matters: 256 terms each.
TRAINYARD_CLONES void sum_blocks(int64_t begin, int64_t end, int64_t elements, const float* values, double* sums) {
  for (int64_t block = begin; block < end; ++block) {
    const int64_t last = std::min(elements, (block + 1) * block_elements);
    Floats total{};
    for (int64_t i = block * block_elements; i < last; i += lanes) {
      const Floats value = load_part(values + i, last - i);
      total += value * value;
    }
    sums[block] = sum(total);
  }
}

at::Tensor norm_squared(const at::Tensor& flat) {
  Checks("norm_squared").numbers("flat", flat);
  if (!flat.is_cpu() || flat.scalar_type() != at::kFloat || !flat.is_contiguous()) {
    return flat.to(at::kDouble).square().sum();
  }
  const int64_t blocks = (flat.numel() + block_elements - 1) / block_elements;
  std::vector<double> sums(static_cast<size_t>(blocks));
  const float* values = flat.const_data_ptr<float>();
  at::parallel_for(0, blocks, 16, [&](int64_t begin, int64_t end) {
    sum_blocks(begin, end, flat.numel(), values, sums.data());
  });
  double total = 0;
  for (double each : sums) total += each;
  return at::scalar_tensor(total, at::kDouble);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) { library.def("norm_squared(Tensor flat) -> Tensor", &norm_squared); }

}  // namespace trainyard
