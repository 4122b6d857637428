// trainyard::lion_: the sign of an interpolated momentum, with decoupled decay (arXiv 2302.06675).
#include <ATen/ATen.h>
#include <torch/library.h>

#include "flat_update.h"
#include "simd.h"

namespace trainyard {
namespace {

struct LionFactors {
  float shrink;
  float lr;
  float beta1;
  float beta2;
  float gradient_scale;
};

TRAINYARD_CLONES void update(int64_t begin, int64_t end, const LionFactors& f, float* parameter, const float* gradient,
                             float* momentum) {
  const Floats zero{};
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    const Floats g = load_part(gradient + i, count) * f.gradient_scale;
    const Floats m = load_part(momentum + i, count);
    const Floats direction = m * f.beta1 + g * (1.0F - f.beta1);
    const Floats step = choose(direction > zero, splat(f.lr), choose(direction < zero, splat(-f.lr), zero));
    store_part(parameter + i, load_part(parameter + i, count) * f.shrink - step, count);
    store_part(momentum + i, m * f.beta2 + g * (1.0F - f.beta2), count);
  }
}

void lion_(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& exp_avg, double lr, double beta1,
           double beta2, double weight_decay, double gradient_scale) {
  if (!updates_on_cpu(Checks("lion_"), parameters, {{"gradients", gradients}, {"exp_avg", exp_avg}})) {
    const at::Tensor g = gradients * gradient_scale;
    parameters.mul_(1 - lr * weight_decay);
    parameters.add_((exp_avg * beta1).add_(g, 1 - beta1).sign_(), -lr);
    exp_avg.mul_(beta2).add_(g, 1 - beta2);
    return;
  }
  const LionFactors factors{static_cast<float>(1 - lr * weight_decay), static_cast<float>(lr),
                            static_cast<float>(beta1), static_cast<float>(beta2), static_cast<float>(gradient_scale)};
  float* p = parameters.mutable_data_ptr<float>();
  const float* g = gradients.const_data_ptr<float>();
  float* m = exp_avg.mutable_data_ptr<float>();
  over_flat(parameters.numel(), [&](int64_t begin, int64_t end) { update(begin, end, factors, p, g, m); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "lion_(Tensor(a!) parameters, Tensor gradients, Tensor(b!) exp_avg, float lr, float beta1, float beta2, "
      "float weight_decay, float gradient_scale) -> ()",
      &lion_);
}

}  // namespace trainyard
