// trainyard::adam_: one Adam or AdamW update over flat memory in one pass (arXiv 1412.6980, 1711.05101; DeepSpeed:
// csrc/adam/cpu_adam.cpp). Every element is computed alike, so the result does not depend on the number of threads.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>

#include "flat_update.h"
#include "simd.h"

namespace trainyard {
namespace {

struct AdamStep {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float eps;
  float step_size;           // lr / (1 - beta1^t)
  float inverse_correction;  // 1 / sqrt(1 - beta2^t)
  float kept;                // 1 - lr * weight_decay, AdamW's decay
  float l2;                  // weight_decay, Adam's decay
};

TRAINYARD_CLONES void update_range(int64_t begin, int64_t end, float* parameters, const float* gradients, float* first,
                                   float* second, const AdamStep& step) {
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    Floats p = load_part(parameters + i, count);
    const Floats g = load_part(gradients + i, count) * splat(step.gradient_scale) + splat(step.l2) * p;
    const Floats m = load_part(first + i, count) * splat(step.beta1) + g * splat(step.one_minus_beta1);
    const Floats v = load_part(second + i, count) * splat(step.beta2) + g * g * splat(step.one_minus_beta2);
    const Floats denominator = square_root(v) * splat(step.inverse_correction) + splat(step.eps);
    p = p * splat(step.kept) - splat(step.step_size) * m / denominator;
    store_part(first + i, m, count);
    store_part(second + i, v, count);
    store_part(parameters + i, p, count);
  }
}

void adam_(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, double lr, double beta1, double beta2, double eps, double weight_decay,
           bool adam_w_mode, int64_t step, double gradient_scale) {
  constexpr Checks checks("adam_");
  const bool fused = updates_on_cpu(
      checks, parameters, {{"gradients", gradients}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}});
  checks.number(step > 0, "step", step, "counted from 1");
  const double correction1 = 1 - std::pow(beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(beta2, static_cast<double>(step));
  if (!fused) {
    at::Tensor g = gradients * gradient_scale;
    if (adam_w_mode) {
      parameters.mul_(1 - lr * weight_decay);
    } else {
      g = g.add_(parameters, weight_decay);
    }
    exp_avg.lerp_(g, 1 - beta1);
    exp_avg_sq.mul_(beta2).addcmul_(g, g, 1 - beta2);
    const at::Tensor denominator = exp_avg_sq.sqrt().div_(std::sqrt(correction2)).add_(eps);
    parameters.addcdiv_(exp_avg, denominator, -lr / correction1);
    return;
  }
  const AdamStep constants{
      static_cast<float>(gradient_scale),
      static_cast<float>(beta1),
      static_cast<float>(1 - beta1),
      static_cast<float>(beta2),
      static_cast<float>(1 - beta2),
      static_cast<float>(eps),
      static_cast<float>(lr / correction1),
      static_cast<float>(1 / std::sqrt(correction2)),
      static_cast<float>(adam_w_mode ? 1 - lr * weight_decay : 1),
      static_cast<float>(adam_w_mode ? 0 : weight_decay),
  };
  float* p = parameters.mutable_data_ptr<float>();
  const float* g = gradients.const_data_ptr<float>();
  float* m = exp_avg.mutable_data_ptr<float>();
  float* v = exp_avg_sq.mutable_data_ptr<float>();
  over_flat(parameters.numel(),
            [&](int64_t begin, int64_t end) { update_range(begin, end, p, g, m, v, constants); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "adam_(Tensor(a!) parameters, Tensor gradients, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, float lr, "
      "float beta1, float beta2, float eps, float weight_decay, bool adam_w_mode, int step, float gradient_scale) "
      "-> ()",
      &adam_);
}

}  // namespace trainyard
