// What the optimizers share: updates in place over flat memory.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <initializer_list>

#include "simd.h"

namespace trainyard {

// Whether the fused pass applies: float32 on the CPU. Refuses memory that is not flat and of one length.
inline bool updates_on_cpu(std::initializer_list<at::Tensor> tensors) {
  const int64_t elements = tensors.begin()->numel();
  bool fused = true;
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.is_contiguous() && tensor.numel() == elements,
                "an optimizer updates contiguous tensors of equal length, got ", tensor.sizes());
    fused = fused && tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
  }
  return fused;
}

// Runs `body` over [0, elements) in ranges that begin at multiples of the vector width.
template <typename Body>
void over_flat(int64_t elements, const Body& body) {
  constexpr int64_t grain = 4096;
  const int64_t vectors = (elements + lanes - 1) / lanes;
  at::parallel_for(0, vectors, grain, [&](int64_t begin, int64_t end) {
    body(begin * lanes, std::min(end * lanes, elements));
  });
}

}  // namespace trainyard
