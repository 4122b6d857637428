// trainyard::lion_: the sign of an interpolated momentum, with decoupled decay (arXiv 2302.06675).
#include <ATen/ATen.h>

#include "optimizer.h"
#include "simd.h"

namespace trainyard {
namespace {

struct LionFactors {
  float shrink;
  float lr;
  float beta1;
  float beta2;
  float grad_scale;
};

TRAINYARD_CLONES void update(int64_t begin, int64_t end, const LionFactors& f, float* parameter, const float* gradient,
                             float* momentum) {
  const Floats zero{};
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    const Floats g = load_part(gradient + i, count) * f.grad_scale;
    const Floats m = load_part(momentum + i, count);
    const Floats direction = m * f.beta1 + g * (1.0F - f.beta1);
    const Floats step = choose(direction > zero, splat(f.lr), choose(direction < zero, splat(-f.lr), zero));
    store_part(parameter + i, load_part(parameter + i, count) * f.shrink - step, count);
    store_part(momentum + i, m * f.beta2 + g * (1.0F - f.beta2), count);
  }
}

void lion_(at::Tensor parameter, const at::Tensor& gradient, at::Tensor momentum, double lr, double beta1,
           double beta2, double weight_decay, double grad_scale) {
  const at::NoGradGuard no_grad;
  if (!flat_on_cpu({parameter, gradient, momentum})) {
    const at::Tensor g = gradient.to(momentum.scalar_type()) * grad_scale;
    parameter.mul_(1 - lr * weight_decay);
    parameter.add_((momentum * beta1).add_(g, 1 - beta1).sign_(), -lr);
    momentum.mul_(beta2).add_(g, 1 - beta2);
    return;
  }
  const LionFactors factors{static_cast<float>(1 - lr * weight_decay), static_cast<float>(lr),
                            static_cast<float>(beta1), static_cast<float>(beta2), static_cast<float>(grad_scale)};
  float* p = parameter.mutable_data_ptr<float>();
  const float* g = gradient.const_data_ptr<float>();
  float* m = momentum.mutable_data_ptr<float>();
  at::parallel_for(0, (parameter.numel() + lanes - 1) / lanes, optimizer_grain / lanes,
                   [&](int64_t begin, int64_t end) {
                     update(begin * lanes, std::min(parameter.numel(), end * lanes), factors, p, g, m);
                   });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "lion_(Tensor(a!) parameter, Tensor gradient, Tensor(b!) momentum, float lr, float beta1, float beta2, "
      "float weight_decay, float grad_scale=1.0) -> ()",
      &lion_);
}

}  // namespace trainyard
