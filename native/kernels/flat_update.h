// What the optimizers share: updates in place over flat memory.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <initializer_list>

#include "checks.h"
#include "simd.h"

namespace trainyard {

// An argument by its name.
struct FlatArgument {
  const char* name;
  const at::Tensor& tensor;
};

// Whether the fused pass applies: float32 on the CPU. Refuses memory that is not flat, or unlike the parameters'.
inline bool updates_on_cpu(const Checks& checks, const at::Tensor& parameters,
                           std::initializer_list<FlatArgument> others) {
  const auto check = [&](const char* name, const at::Tensor& tensor) {
    checks.numbers(name, tensor);
    checks.shape(tensor.is_contiguous(), name, tensor, "contiguous");
    return tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
  };
  bool fused = check("parameters", parameters);
  for (const auto& [name, tensor] : others) {
    fused = check(name, tensor) && fused;
    checks.shape(tensor.numel() == parameters.numel(), name, tensor, "as many elements as the parameters");
    checks.shape(tensor.device() == parameters.device(), name, tensor, "on the device of the parameters");
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
