// What the fused operators share: gradients of weights accumulate in place, outside of autograd.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>

namespace trainyard {

using OptionalTensor = std::optional<at::Tensor>;

// A tensor that autograd does not look at: weights, whose gradients the operators accumulate themselves.
struct Untracked {
  at::Tensor tensor;
};

inline Untracked untracked(const at::Tensor& tensor) { return {tensor}; }
inline Untracked untracked(const OptionalTensor& tensor) { return {tensor.value_or(at::Tensor())}; }

// An output must ask for a gradient even when only a weight wants one: autograd then needs some input that does.
inline OptionalTensor gradient_anchor(bool wanted) {
  if (!wanted || !at::GradMode::is_enabled()) return std::nullopt;
  return at::empty({0}).requires_grad_();
}

// Whether the hand-written loops apply; otherwise the same formula is composed of ATen's operators.
inline bool on_cpu_in_float(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat;
}

// Sums and roots of half-precision numbers are taken in float32.
inline at::Tensor widened(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

}  // namespace trainyard
