// trainyard::sgd_: torch.optim.SGD with momentum, dampening, Nesterov's momentum and decay in the gradient.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "flat_update.h"
#include "simd.h"

namespace trainyard {
namespace {

struct SgdFactors {
  float lr;
  float momentum;
  float keep;  // 1 - dampening; 1 at the first step, whose buffer is the gradient itself
  float decay;
  float gradient_scale;
  bool nesterov;
};

// `buffer` is null without momentum.
TRAINYARD_CLONES void update(int64_t begin, int64_t end, const SgdFactors& f, float* parameter, const float* gradient,
                             float* buffer) {
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    const Floats p = load_part(parameter + i, count);
    Floats g = load_part(gradient + i, count) * f.gradient_scale + p * f.decay;
    if (buffer != nullptr) {
      const Floats velocity = load_part(buffer + i, count) * f.momentum + g * f.keep;
      store_part(buffer + i, velocity, count);
      g = f.nesterov ? g + velocity * f.momentum : velocity;
    }
    store_part(parameter + i, p - g * f.lr, count);
  }
}

void sgd_(const at::Tensor& parameters, const at::Tensor& gradients, const std::optional<at::Tensor>& momentum_buffer,
          double lr, double momentum, double dampening, double weight_decay, bool nesterov, int64_t step,
          double gradient_scale) {
  // torch.optim.SGD starts the buffer as the first gradient, undamped.
  const double keep = step <= 1 ? 1 : 1 - dampening;
  const at::Tensor velocity = momentum_buffer.value_or(at::Tensor());
  const bool fused = updates_on_cpu(
      Checks("sgd_"), parameters, {{"gradients", gradients}, {"momentum_buffer", momentum_buffer.value_or(parameters)}});
  if (step <= 1 && velocity.defined()) velocity.zero_();
  if (!fused) {
    at::Tensor g = (gradients * gradient_scale).add_(parameters, weight_decay);
    if (velocity.defined()) {
      velocity.mul_(momentum).add_(g, keep);
      g = nesterov ? g.add_(velocity, momentum) : velocity;
    }
    parameters.add_(g, -lr);
    return;
  }
  const SgdFactors factors{static_cast<float>(lr),           static_cast<float>(momentum),       static_cast<float>(keep),
                           static_cast<float>(weight_decay), static_cast<float>(gradient_scale), nesterov};
  float* p = parameters.mutable_data_ptr<float>();
  const float* g = gradients.const_data_ptr<float>();
  float* v = velocity.defined() ? velocity.mutable_data_ptr<float>() : nullptr;
  over_flat(parameters.numel(), [&](int64_t begin, int64_t end) { update(begin, end, factors, p, g, v); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "sgd_(Tensor(a!) parameters, Tensor gradients, Tensor(b!)? momentum_buffer, float lr, float momentum, "
      "float dampening, float weight_decay, bool nesterov, int step, float gradient_scale) -> ()",
      &sgd_);
}

}  // namespace trainyard
